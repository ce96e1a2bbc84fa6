use vernam_key::{Material, Outbound, SecretBytes, Text};

fn main() {
    let mut pad = Material::<Outbound>::from_source(SecretBytes::from_vec(vec![7; 32])).into_pad::<Text>();
    let _pending = pad.pending(4, 16);
}
