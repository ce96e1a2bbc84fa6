use std::fmt::{Debug, Display};

use vernam_key::{Inbound, Material, Outbound, Pad, PadChunk, PadSlots, SecretBytes, Seed, Voice};

fn needs_debug<T: Debug>() {}
fn needs_display<T: Display>() {}

fn main() {
    needs_debug::<SecretBytes>();
    needs_debug::<Material<Outbound>>();
    needs_debug::<Pad<Outbound, Voice>>();
    needs_debug::<PadChunk<'static, Inbound, Voice>>();
    needs_debug::<PadSlots<Voice>>();
    needs_debug::<Seed<Outbound, Voice>>();
    needs_display::<SecretBytes>();
}
