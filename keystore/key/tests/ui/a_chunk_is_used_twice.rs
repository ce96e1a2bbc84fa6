use vernam_key::{Material, Outbound, SecretBytes, Voice};

fn main() {
    let mut pad = Material::<Outbound>::from_source(SecretBytes::from_vec(vec![7; 8])).into_pad::<Voice>();
    let chunk = pad.take(4).unwrap();
    chunk.xor_into(&mut [1; 4]);
    chunk.xor_into(&mut [2; 4]);
}
