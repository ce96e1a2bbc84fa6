//! What Alice sends and Bob finds, slot by slot.

/// One of the two bases in which a bit is prepared or measured.
///
/// X gives the key, Z is the test, as in C. C. W. Lim et al., Phys. Rev. A 89, 022307 (2014).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Basis {
    /// The basis whose bits become key.
    X,
    /// The basis whose bits are made public to count their errors.
    Z,
}

/// Which of the three brightnesses a pulse has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intensity {
    /// The brightest (`μ1`).
    Signal,
    /// The weak decoy (`μ2`).
    Decoy,
    /// The vacuum, or the weaker of two decoys (`μ3`).
    Vacuum,
}

/// How Alice prepared one pulse.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    /// The basis.
    pub basis: Basis,
    /// The bit; secret while the basis is X.
    pub bit: bool,
    /// The brightness.
    pub intensity: Intensity,
}

/// One click at Bob's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Detection {
    /// The number of the pulse, counted from the start of the link.
    pub slot: u64,
    /// The basis in which Bob measured.
    pub basis: Basis,
    /// What he found; secret while the basis is X.
    pub bit: bool,
}

impl Intensity {
    /// All of them, brightest first: the order of every array by intensity.
    pub const ALL: [Self; 3] = [Self::Signal, Self::Decoy, Self::Vacuum];

    /// Its place in [`Self::ALL`].
    pub fn index(self) -> usize {
        match self {
            Self::Signal => 0,
            Self::Decoy => 1,
            Self::Vacuum => 2,
        }
    }
}
