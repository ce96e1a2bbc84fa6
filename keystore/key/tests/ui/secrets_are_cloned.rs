use vernam_key::{Inbound, Material, Outbound, Pad, PadChunk, PadSlots, SecretBytes, Seed, Voice};

fn needs_clone<T: Clone>() {}

fn main() {
    needs_clone::<SecretBytes>();
    needs_clone::<Material<Outbound>>();
    needs_clone::<Pad<Outbound, Voice>>();
    needs_clone::<PadChunk<'static, Inbound, Voice>>();
    needs_clone::<PadSlots<Voice>>();
    needs_clone::<Seed<Outbound, Voice>>();
}
