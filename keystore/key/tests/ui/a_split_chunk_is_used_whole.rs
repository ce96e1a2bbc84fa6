use vernam_key::{Material, Outbound, SecretBytes, Text};

fn main() {
    let mut pad = Material::<Outbound>::from_source(SecretBytes::from_vec(vec![7; 8])).into_pad::<Text>();
    let chunk = pad.take(8).unwrap();
    let (_head, _tail) = chunk.split(4);
    chunk.xor_into(&mut [0; 8]);
}
