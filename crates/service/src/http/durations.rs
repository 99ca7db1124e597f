//! Response times by route, method and status, in a fixed set of histograms.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{Method, StatusCode};

use crate::metrics::Histogram;

/// The route of requests that match none.
const NO_ROUTE: &str = "none";
const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "DELETE", "other"];
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// The histograms of one path, by method and class of status.
type RouteHistograms = [[Histogram; CLASSES.len()]; METHODS.len()];

/// All histograms. Routes are the router's patterns, so clients cannot add any.
#[derive(Debug, Default)]
pub struct Durations {
    rows: Mutex<BTreeMap<String, Box<RouteHistograms>>>,
}

/// One histogram with its labels.
#[derive(Debug)]
pub struct Measured {
    /// The router's pattern, such as `/api/v1/tasks/{id}`.
    pub route: String,
    /// The method.
    pub method: &'static str,
    /// The class of the status: `2xx`.
    pub class: &'static str,
    /// Microseconds until the head of the response.
    pub histogram: Histogram,
}

impl Durations {
    /// Counts one response.
    pub fn note(&self, route: Option<&str>, method: &Method, status: StatusCode, took: Duration) {
        let route = route.unwrap_or(NO_ROUTE);
        let method = METHODS
            .iter()
            .position(|known| *known == method.as_str())
            .unwrap_or(METHODS.len() - 1);
        let class = usize::from(status.as_u16() / 100).clamp(2, 5) - 2;
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // Each update is complete, even if another thread panicked.
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let row = match rows.get_mut(route) {
            Some(row) => row,
            None => rows.entry(route.to_owned()).or_default(),
        };
        row[method][class].note(took_us);
    }

    /// Every histogram that is not empty.
    pub fn read(&self) -> Vec<Measured> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::new();
        for (route, row) in rows.iter() {
            for (method, classes) in METHODS.iter().zip(row.iter()) {
                let counted = CLASSES
                    .iter()
                    .zip(classes)
                    .filter(|(_, histogram)| histogram.count() > 0);
                all.extend(counted.map(|(class, histogram)| Measured {
                    route: route.clone(),
                    method,
                    class,
                    histogram: histogram.clone(),
                }));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_methods_and_paths_add_no_histograms() {
        let durations = Durations::default();
        for method in ["GET", "BREW", "WHEN", "PROPFIND"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            durations.note(None, &method, StatusCode::NOT_FOUND, Duration::from_millis(1));
        }
        let read = durations.read();
        let named: Vec<_> = read
            .iter()
            .map(|one| (one.route.as_str(), one.method, one.class))
            .collect();
        assert_eq!(named, [("none", "GET", "4xx"), ("none", "other", "4xx")]);
        assert_eq!(read[1].histogram.count(), 3);
    }
}
