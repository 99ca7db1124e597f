//! Observations over time, in a bounded number of rows: if there are too many, neighbours are merged.

use std::time::Duration;

use hybrid_cache_model::load::LoadRow;

/// Rows of equal length, from the beginning on.
pub struct Series {
    row: Duration,
    rows: Vec<LoadRow>,
}

impl Series {
    /// Creates an empty series with rows of one second.
    pub fn new() -> Series {
        Series {
            row: Duration::from_secs(1),
            rows: Vec::new(),
        }
    }

    /// Adds an observation at a time since the beginning.
    pub fn note(&mut self, at: Duration, seen: LoadRow) {
        while self.index(at) >= LoadRow::MOST {
            self.halve();
        }
        let index = self.index(at);
        if self.rows.len() <= index {
            self.rows.resize(index + 1, LoadRow::default());
        }
        self.rows[index] = self.rows[index].and(seen);
    }

    fn index(&self, at: Duration) -> usize {
        usize::try_from(at.as_millis() / self.row.as_millis()).unwrap_or(usize::MAX)
    }

    fn halve(&mut self) {
        self.row *= 2;
        let pairs = self.rows.chunks(2);
        self.rows = pairs
            .map(|pair| pair.iter().copied().fold(LoadRow::default(), LoadRow::and))
            .collect();
    }

    /// Returns the length of a row, and the rows.
    pub fn into_parts(self) -> (Duration, Vec<LoadRow>) {
        (self.row, self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_takes_no_more_rows_than_two_minutes_and_loses_no_task() {
        let mut series = Series::new();
        for second in 0..86_400 {
            let seen = LoadRow {
                done: 1,
                waiting: Some(second % 7),
                ..LoadRow::default()
            };
            series.note(Duration::from_secs(second), seen);
            assert!(series.rows.len() <= LoadRow::MOST);
        }
        let (row, rows) = series.into_parts();
        assert_eq!(row, Duration::from_secs(1024));
        assert_eq!(rows.iter().map(|row| row.done).sum::<u64>(), 86_400);
        assert!(rows.iter().all(|row| row.waiting == Some(6)));
        assert_eq!(rows[0].done, 1024);
    }

    #[test]
    fn what_is_seen_late_goes_where_it_belongs() {
        let mut series = Series::new();
        series.note(
            Duration::from_millis(2500),
            LoadRow {
                done: 1,
                ..LoadRow::default()
            },
        );
        series.note(
            Duration::from_millis(999),
            LoadRow {
                done: 5,
                ..LoadRow::default()
            },
        );
        let (_, rows) = series.into_parts();
        assert_eq!(rows.iter().map(|row| row.done).collect::<Vec<_>>(), [5, 0, 1]);
    }
}
