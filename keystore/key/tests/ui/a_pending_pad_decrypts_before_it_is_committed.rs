use vernam_key::{Inbound, Material, PadChunk, SecretBytes, Text};

fn decrypt(chunk: PadChunk<'_, Inbound, Text>, data: &mut [u8]) {
    chunk.xor_into(data);
}

fn main() {
    let mut pad = Material::<Inbound>::from_source(SecretBytes::from_vec(vec![7; 32])).into_pad::<Text>();
    decrypt(pad.pending(4, 16).unwrap(), &mut [0; 4]);
}
