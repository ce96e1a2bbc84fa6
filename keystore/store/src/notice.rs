//! What a person must be told of a store, although it works.

use std::fmt;

/// Something about a stock that its owner did not do, or did not mean to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The stock's files are older than its anchor, or gone: an old copy was put back, or they were deleted. What could
    /// have been spent since was erased.
    Restored {
        /// Which stock, such as `what goes to bob`.
        stock: String,
        /// Whether all of it was erased (a stock), or what lies before the anchored cursor (a pad, whose bytes do not
        /// change).
        all: bool,
        /// The first position that can be used from now on.
        cursor: u64,
    },
    /// The stock's anchor was lost, and the loss was accepted: all of it was erased.
    AnchorLost {
        /// Which stock.
        stock: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restored { stock, all: true, .. } => write!(
                f,
                "the stock of key for {stock} had been put back from an old copy, or was deleted: key in it may have \
                 been used already, so all of it was erased. New key is fetched as usual"
            ),
            Self::Restored { stock, all: false, cursor } => write!(
                f,
                "the pad for {stock} had been put back from an old copy: its first {cursor} bytes may have been used \
                 already and were erased. The rest is good"
            ),
            Self::AnchorLost { stock } => {
                write!(f, "nothing told any more whether the key for {stock} was used already, so all of it was erased")
            }
        }
    }
}
