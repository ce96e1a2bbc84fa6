use vernam_key::{File, Material, Outbound, Pad, SecretBytes, Voice};

fn seal_file(pad: &mut Pad<Outbound, File>, data: &mut [u8]) {
    pad.take(data.len()).unwrap().xor_into(data);
}

fn main() {
    let mut pad = Material::<Outbound>::from_source(SecretBytes::from_vec(vec![7; 8])).into_pad::<Voice>();
    seal_file(&mut pad, &mut [0; 4]);
}
