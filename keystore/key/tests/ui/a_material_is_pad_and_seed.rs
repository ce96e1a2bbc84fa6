use vernam_key::{File, Material, Outbound, SecretBytes};

fn main() {
    let material = Material::<Outbound>::from_source(SecretBytes::from_vec(vec![7; 32]));
    let _pad = material.into_pad::<File>();
    let _seed = material.into_seed::<File>();
}
