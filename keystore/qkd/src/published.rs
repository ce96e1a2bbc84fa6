//! Figures from outside of this crate, to draw beside its own and to check it against.
//!
//! It computes nothing: it reads `data/decoy-bb84-gys.csv`, whose rows the tests compare with the formulas.

/// The rows of `data/decoy-bb84-gys.csv`.
const GYS: &str = include_str!("../data/decoy-bb84-gys.csv");

/// One figure of the reference file: something of the GYS link of MQZL (see [`crate::decoy`]) at one length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// Which model it comes from, such as `weak+vacuum nu=0.05`.
    pub model: &'static str,
    /// What it is, such as `R`, key bits per signal pulse.
    pub quantity: &'static str,
    /// Length of the fibre, km; `None` for what belongs to no length.
    pub length_km: Option<f64>,
    /// Its value.
    pub value: f64,
    /// Its unit; `1` for a plain number.
    pub unit: &'static str,
    /// Where it comes from.
    pub source: Source,
}

/// Where a figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Read in the paper.
    Literature,
    /// Computed from the paper's formulas and parameters by a program that shares nothing with this crate.
    Recomputed,
}

/// Every figure of the GYS link, in the order of the file.
pub fn gys() -> impl Iterator<Item = Figure> {
    GYS.lines().skip(1).filter_map(figure)
}

/// Key bits per signal pulse of the GYS link with one weak decoy and the vacuum, as `(km, bits)`: what
/// [`crate::DeviceProfile`] `gys` is to reach.
pub fn gys_key_rates() -> impl Iterator<Item = (f64, f64)> {
    gys()
        .filter(|figure| figure.model.starts_with("weak+vacuum") && figure.quantity == "R")
        .filter_map(|figure| Some((figure.length_km?, figure.value)))
}

/// Where the key of the GYS link with one weak decoy and the vacuum ends in figure 2 of MQZL, km.
pub fn gys_cutoff_km() -> Option<f64> {
    gys()
        .find(|figure| figure.source == Source::Literature && figure.quantity == "cutoff weak+vacuum")
        .map(|figure| figure.value)
}

fn figure(row: &'static str) -> Option<Figure> {
    let mut cells = row.split(',');
    let _system = cells.next()?;
    let model = cells.next()?;
    let length_km: f64 = cells.next()?.parse().ok()?;
    let quantity = cells.next()?;
    let value = cells.next()?.parse().ok()?;
    let unit = cells.next()?;
    let source = if cells.next()? == "literature" { Source::Literature } else { Source::Recomputed };
    Some(Figure { model, quantity, length_km: (length_km >= 0.0).then_some(length_km), value, unit, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read() {
        assert_eq!(gys().count(), GYS.lines().count() - 1);
        assert_eq!(gys().filter(|figure| figure.source == Source::Literature).count(), 2);
    }

    #[test]
    fn rates_fall_with_the_length_and_end_where_the_paper_says() {
        let rates: Vec<(f64, f64)> = gys_key_rates().collect();
        assert_eq!(rates.len(), 7);
        assert!(rates.is_sorted_by(|near, far| near.0 < far.0 && near.1 > far.1), "{rates:?}");
        assert_eq!(gys_cutoff_km(), Some(140.55));
    }
}
