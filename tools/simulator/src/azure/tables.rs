//! Durations and memory of a day.

use std::collections::HashMap;
use std::path::Path;

use super::rows::Rows;
use super::{AzureError, Table};

/// Run times of a function: at these shares of its runs, in milliseconds.
pub(super) type Percentiles = [f64; 7];
/// The shares.
const SHARES: [f64; 7] = [0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0];

/// Rows by name, and by number for those that are not there.
#[derive(Debug, Default)]
pub(super) struct Known<T> {
    by_name: HashMap<String, usize>,
    values: Vec<T>,
}

impl<T: Copy> Known<T> {
    fn insert(&mut self, name: String, value: T) {
        self.by_name.insert(name, self.values.len());
        self.values.push(value);
    }

    /// What is known of this name, or of another one that the dice choose.
    pub(super) fn get(&self, name: &str, dice: u64) -> Option<T> {
        let drawn = || usize::try_from(dice % (self.values.len().max(1) as u64)).ok();
        let index = self.by_name.get(name).copied().or_else(drawn)?;
        self.values.get(index).copied()
    }
}

/// Reads the durations.
pub(super) fn durations(folder: &Path, day: u32) -> Result<Known<Percentiles>, AzureError> {
    let mut rows = Rows::open(&Table::Durations.path(folder, day))?;
    let names = ["HashOwner", "HashApp", "HashFunction"].map(|name| rows.column(name));
    let [owner, app, function] = names;
    let (owner, app, function) = (owner?, app?, function?);
    let (minimum, maximum) = (rows.column("Minimum")?, rows.column("Maximum")?);
    let mut columns = Vec::new();
    for percent in [0, 1, 25, 50, 75, 99, 100] {
        columns.push(rows.column(&format!("percentile_Average_{percent}"))?);
    }
    let mut known = Known { by_name: HashMap::new(), values: Vec::new() };
    while let Some(row) = rows.next()? {
        let name = format!("{}/{}/{}", row.name(owner)?, row.name(app)?, row.name(function)?);
        let mut percentiles = Percentiles::default();
        for (value, column) in percentiles.iter_mut().zip(&columns) {
            *value = row.measure(*column)?.unwrap_or_default();
        }
        // Percentiles are of averages over half a minute; the true ends were recorded for most functions.
        let ends = (row.measure(minimum)?, row.measure(maximum)?);
        if let ([first, .., last], (Some(minimum), Some(maximum))) = (&mut percentiles, ends)
            && maximum > 0.0
        {
            *first = first.min(minimum);
            *last = last.max(maximum);
        }
        let mut least = 0.0;
        for value in &mut percentiles {
            least = value.max(least);
            *value = least;
        }
        known.insert(name, percentiles);
    }
    Ok(known)
}

/// Reads the memory of applications, in MB: their largest percentile. The table of an earlier day does if the day has
/// none.
pub(super) fn memory(folder: &Path, day: u32) -> Result<Known<f64>, AzureError> {
    let days = (1..=day).rev().map(|day| Table::Memory.path(folder, day));
    let mut known = Known { by_name: HashMap::new(), values: Vec::new() };
    let Some(path) = days.into_iter().find(|path| path.is_file()) else { return Ok(known) };
    let mut rows = Rows::open(&path)?;
    let (owner, app) = (rows.column("HashOwner")?, rows.column("HashApp")?);
    let most = rows.column("AverageAllocatedMb_pct100")?;
    while let Some(row) = rows.next()? {
        let name = format!("{}/{}", row.name(owner)?, row.name(app)?);
        if let Some(most) = row.measure(most)? {
            known.insert(name, most);
        }
    }
    Ok(known)
}

/// The run time at a share of all runs, between two known ones by a straight line.
pub(super) fn at_share(percentiles: &Percentiles, share: f64) -> f64 {
    let pairs = SHARES.iter().zip(percentiles);
    let mut before = (0.0, percentiles.first().copied().unwrap_or_default());
    for (known, value) in pairs {
        if share <= *known {
            let width = known - before.0;
            let part = if width > 0.0 { (share - before.0) / width } else { 1.0 };
            return before.1 + (value - before.1) * part;
        }
        before = (*known, *value);
    }
    before.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_lie_between_percentiles() {
        let percentiles = [1.0, 2.0, 10.0, 20.0, 30.0, 100.0, 1000.0];
        for (share, time) in
            [(0.0, 1.0), (0.01, 2.0), (0.375, 15.0), (0.5, 20.0), (0.995, 550.0), (1.0, 1000.0)]
        {
            assert!((at_share(&percentiles, share) - time).abs() < 1e-6, "{share}");
        }
    }

    #[test]
    fn who_is_not_known_gets_what_the_dice_say() {
        let mut known = Known::default();
        assert_eq!(known.get("a", 5), None);
        known.insert("a".to_owned(), 1);
        known.insert("b".to_owned(), 2);
        assert_eq!([known.get("a", 9), known.get("c", 4), known.get("c", 5)], [Some(1), Some(1), Some(2)]);
    }

    #[test]
    fn ends_that_were_not_recorded_are_those_of_the_averages() {
        let folder = tempfile::tempdir().unwrap();
        let columns = "HashOwner,HashApp,HashFunction,Average,Count,Minimum,Maximum,percentile_Average_0,\
                       percentile_Average_1,percentile_Average_25,percentile_Average_50,percentile_Average_75,\
                       percentile_Average_99,percentile_Average_100";
        let text = format!("{columns}\no,a,f,5,9,1,90,2,3,4,5,6,7,8\no,a,g,5,9,,0,2,3,4,5,1,7,8\n");
        std::fs::write(Table::Durations.path(folder.path(), 3), text).unwrap();
        let known = durations(folder.path(), 3).unwrap();
        assert_eq!(known.get("o/a/f", 0), Some([1.0, 3.0, 4.0, 5.0, 6.0, 7.0, 90.0]));
        assert_eq!(known.get("o/a/g", 0), Some([2.0, 3.0, 4.0, 5.0, 5.0, 7.0, 8.0]));
    }
}
