use vernam_key::{Control, Material, Outbound, SecretBytes};

fn main() {
    let seed = Material::<Outbound>::from_source(SecretBytes::from_vec(vec![7; 32])).into_seed::<Control>();
    let _first = seed.derive(<[u8]>::to_vec);
    let _second = seed.derive(<[u8]>::to_vec);
}
