use vernam_key::{Inbound, Material, Outbound, Pad, SecretBytes, Text};

fn seal(pad: &mut Pad<Outbound, Text>, data: &mut [u8]) {
    pad.take(data.len()).unwrap().xor_into(data);
}

fn main() {
    let mut pad = Material::<Inbound>::from_source(SecretBytes::from_vec(vec![7; 8])).into_pad::<Text>();
    seal(&mut pad, &mut [0; 4]);
}
