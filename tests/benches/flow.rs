//! The flow that the benches speak in, and key for it. Nothing here is secret.

use vernam_key::{Material, Purpose, SecretBytes};
use vernam_session::{Exporter, FlowContext, FlowId, KeyBlock, Role, Suite};

/// Flow 1 of purpose `P`.
pub(crate) fn context<P: Purpose>() -> FlowContext {
    FlowContext { session_id: [5; 16], sender: Role::Initiator, flow: FlowId::of::<P>(1) }
}

/// What the outer layer would give.
pub(crate) fn exporter() -> Exporter {
    Exporter::new([7; 32])
}

/// The bytes of a key, the same every time.
pub(crate) fn key_bytes(len: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().map(|byte| byte.wrapping_mul(167)).take(len).collect()
}

/// A block of the flow's key.
pub(crate) fn block<P: Purpose, D: vernam_key::Direction>(
    suite: Suite,
    generation: u32,
    first_seq: u64,
    bytes: &[u8],
) -> KeyBlock<D> {
    let material = Material::from_source(SecretBytes::copy_of(bytes));
    KeyBlock { flow: FlowId::of::<P>(1), generation, suite, first_seq, material }
}
