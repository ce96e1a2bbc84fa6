//! Lists of secret bytes, one for a slot.

use zeroize::Zeroize as _;

/// Pushes, and wipes what would stay behind when the vector moves to grow.
pub(crate) fn push_secret(bytes: &mut Vec<u8>, byte: u8) {
    if bytes.len() == bytes.capacity() {
        let mut larger = Vec::with_capacity((2 * bytes.len()).max(64));
        larger.extend_from_slice(bytes);
        std::mem::swap(bytes, &mut larger);
        larger.zeroize();
    }
    bytes.push(byte);
}

/// The first place from `from` on that holds `slot` or a later one: a few steps if it is near, else by halving.
pub(crate) fn seek(at: &[u64], from: usize, slot: u64) -> usize {
    let rest = at.get(from..).unwrap_or_default();
    for (steps, there) in rest.iter().take(8).enumerate() {
        if *there >= slot {
            return from + steps;
        }
    }
    from + rest.partition_point(|there| *there < slot)
}
