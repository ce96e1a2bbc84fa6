use vernam_key::SecretBytes;

fn main() {
    // Not in constant time, and nobody needs it.
    let _same = SecretBytes::from_vec(vec![1]) == SecretBytes::from_vec(vec![1]);
}
