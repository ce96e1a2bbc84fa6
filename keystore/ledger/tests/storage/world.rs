//! Short words for what the stories ask of a ledger.

use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use vernam_key::SecretBytes;
use vernam_ledger::{Book, Cut, Fault, Ledger, LedgerLimits, LinkView, OpenError, Options, Unavailable, Wish};

pub(crate) const NOW: Duration = Duration::from_hours(500_000);

/// The bits of block `number`: the same wherever they are asked for.
pub(crate) fn bits(number: u64, len: usize) -> Vec<u8> {
    let mut bits = vec![0; len];
    rand::Rng::fill_bytes(&mut StdRng::seed_from_u64(number), &mut bits);
    bits
}

/// The operation that deposits a block of the link to `KME_Z`.
pub(crate) fn deposits(number: u64, len: usize) -> impl FnMut(&mut Book<'_>) -> Result<(), Fault> + Send + 'static {
    let (link, bits) = ("KME_Z".parse().unwrap(), SecretBytes::from_vec(bits(number, len)));
    move |book| {
        book.deposit(&link, number, &bits, NOW)?.expect("it is in order");
        Ok(())
    }
}

pub(crate) fn deposit(ledger: &Ledger, number: u64, len: usize) {
    ledger.run_blocking(deposits(number, len)).unwrap();
}

/// Cuts `number` keys of `bytes` for a slave at `KME_Z`.
pub(crate) fn cut(ledger: &Ledger, number: u32, bytes: u32, seed: u64) -> Result<Cut, Unavailable> {
    let wish = Wish {
        link: "KME_Z".parse().unwrap(),
        master: "alice".parse().unwrap(),
        remote: vec!["bob".parse().unwrap()],
        local: Vec::new(),
        relays: Vec::new(),
        number,
        bytes,
        not_before: None,
        leave_bits: 0,
        deadline: NOW + Duration::from_mins(1),
    };
    ledger.run_blocking(move |book| {
        Ok(book.cut(&wish, NOW, &mut StdRng::seed_from_u64(seed))?.expect("there is key enough"))
    })
}

/// Delivers a cut and returns its keys in the open.
pub(crate) fn deliver(ledger: &Ledger, cut: &Cut) -> Result<Option<Vec<Vec<u8>>>, Unavailable> {
    let id = cut.reservation;
    let delivered = ledger.run_blocking(move |book| book.deliver(id, NOW))?;
    Ok(delivered.map(|keys| keys.iter().map(|key| key.key.expose("test").to_vec()).collect()))
}

/// Why it does not open.
pub(crate) fn refused(options: Options) -> OpenError {
    Ledger::open(options).err().expect("it must not open")
}

/// Room for whatever a test deposits.
pub(crate) fn roomy() -> LedgerLimits {
    LedgerLimits { max_pool_bits: 1 << 40, ..LedgerLimits::default() }
}

/// The operation that looks at every link.
pub(crate) fn links(book: &mut Book<'_>) -> Result<Vec<LinkView>, Fault> {
    book.links()
}
