//! Linear equations over GF(2) about the bits of a key: rows of bits, 64 to a word.

/// A row: bit `i % 64` of word `i / 64` is the coefficient of bit `i` of the key.
pub(crate) type Row = Vec<u64>;

pub(crate) fn unit(at: usize, bits: usize) -> Row {
    let mut row = vec![0; bits.div_ceil(64)];
    row[at / 64] = 1 << (at % 64);
    row
}

pub(crate) fn bit(row: &[u64], at: usize) -> bool {
    row[at / 64] >> (at % 64) & 1 == 1
}

/// The sum of the key's bits that the row names.
pub(crate) fn product(row: &[u64], key: &[u64]) -> bool {
    row.iter().zip(key).map(|(a, b)| (a & b).count_ones()).sum::<u32>() % 2 == 1
}

/// The rows of a matrix whose columns these are, each of at least `rows` bits.
pub(crate) fn transposed(columns: &[Row], rows: usize) -> Vec<Row> {
    let mut found = vec![vec![0; columns.len().div_ceil(64)]; rows];
    for (j, column) in columns.iter().enumerate() {
        for (i, row) in found.iter_mut().enumerate() {
            row[j / 64] |= u64::from(bit(column, i)) << (j % 64);
        }
    }
    found
}

/// Equations that do not follow from each other, by the first bit of each: Gauss's elimination, row by row.
pub(crate) struct Independent {
    by_first: Vec<Option<Row>>,
    rank: usize,
}

impl Independent {
    /// None yet, about a key of `bits`.
    pub(crate) fn new(bits: usize) -> Self {
        Self { by_first: vec![None; bits], rank: 0 }
    }

    /// Adds those that do not follow from what is there.
    pub(crate) fn add(&mut self, rows: impl IntoIterator<Item = Row>) -> &mut Self {
        for mut row in rows {
            let mut word = 0;
            while word < row.len() {
                if row[word] == 0 {
                    word += 1;
                    continue;
                }
                let first = 64 * word + row[word].trailing_zeros() as usize;
                match &self.by_first[first] {
                    Some(other) => row[word..].iter_mut().zip(&other[word..]).for_each(|(a, b)| *a ^= b),
                    None => {
                        self.by_first[first] = Some(row);
                        self.rank += 1;
                        break;
                    }
                }
            }
        }
        self
    }

    /// How many.
    pub(crate) fn rank(&self) -> usize {
        self.rank
    }
}

#[test]
fn rank_counts_what_does_not_follow() {
    let rank = |rows: &[Row]| Independent::new(130).add(rows.iter().cloned()).rank();
    let sum = |rows: &[&Row]| (0..3).map(|word| rows.iter().fold(0, |sum, row| sum ^ row[word])).collect::<Row>();
    let (a, b, c) = (vec![5, 1 << 40, 2], vec![4, 3, 0], vec![0, 0, 1]);
    assert_eq!((rank(&[]), rank(&[vec![0; 3]]), rank(std::slice::from_ref(&a))), (0, 0, 1));
    assert_eq!(rank(&[a.clone(), b.clone(), sum(&[&a, &b]), a.clone()]), 2);
    assert_eq!(rank(&[sum(&[&a, &b]), sum(&[&b, &c]), sum(&[&a, &c])]), 2, "each follows from the other two");
    assert_eq!(rank(&[sum(&[&a, &b]), sum(&[&b, &c]), sum(&[&a, &b, &c])]), 3);
    assert_eq!(rank(&(0..130).map(|i| unit(i, 130)).collect::<Vec<Row>>()), 130);
    // Each bit with its neighbour: one less than there are bits.
    let ring: Vec<Row> = (0..130).map(|i| sum(&[&unit(i, 130), &unit((i + 1) % 130, 130)])).collect();
    assert_eq!(rank(&ring), 129);
    let columns = [vec![0b01], vec![0b11], vec![0b10]];
    assert_eq!(transposed(&columns, 2), [vec![0b011], vec![0b110]]);
    assert!(product(&a, &b) && !product(&b, &c));
}
