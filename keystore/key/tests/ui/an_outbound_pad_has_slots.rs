use vernam_key::{Material, Outbound, SecretBytes, Voice};

fn main() {
    let pad = Material::<Outbound>::from_source(SecretBytes::from_vec(vec![7; 32])).into_pad::<Voice>();
    let _slots = pad.into_slots(8, 8);
}
