//! Where the time of a run went.

use hybrid_cache_model::{Lane, Phase, Span, Timeline};
use serde::{Deserialize, Deserializer, Serialize};

#[cfg(feature = "openapi")]
use crate::schema;

/// Where the time of a run went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TimelineView {
    /// Microseconds from the start to the result that a client waits for.
    pub total_us: u64,
    /// The spans, in the order in which they were recorded.
    #[serde(deserialize_with = "known_spans")]
    pub spans: Vec<SpanView>,
}

/// When one phase ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SpanView {
    /// What happened.
    #[cfg_attr(feature = "openapi", schema(schema_with = schema::phase))]
    pub phase: Phase,
    /// Which lane it ran in; lanes overlap.
    #[cfg_attr(feature = "openapi", schema(schema_with = schema::lane))]
    pub lane: Lane,
    /// Microseconds after the start at which it began.
    pub start_us: u64,
    /// Microseconds it took.
    pub duration_us: u64,
}

impl From<&Timeline> for TimelineView {
    fn from(timeline: &Timeline) -> TimelineView {
        let spans = timeline.spans.iter().map(|span| SpanView {
            phase: span.phase,
            lane: span.lane,
            start_us: span.start_us,
            duration_us: span.duration_us,
        });
        TimelineView {
            total_us: timeline.total_us,
            spans: spans.collect(),
        }
    }
}

impl TimelineView {
    /// The timeline in the model's words.
    pub fn timeline(&self) -> Timeline {
        let spans = self.spans.iter().map(|span| Span {
            phase: span.phase,
            lane: span.lane,
            start_us: span.start_us,
            duration_us: span.duration_us,
        });
        Timeline {
            total_us: self.total_us,
            spans: spans.collect(),
        }
    }
}

/// Leaves out spans of a phase or lane that a newer service may have added: their time then counts as not explained.
fn known_spans<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SpanView>, D::Error> {
    let spans = Vec::<serde_json::Value>::deserialize(deserializer)?;
    let known = spans.into_iter().filter_map(|span| serde_json::from_value(span).ok());
    Ok(known.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_survives_the_wire_and_a_phase_of_a_newer_service_is_left_out() {
        let text = r#"{"totalUs": 1000, "spans": [
            {"phase": "user_code", "lane": "runner", "startUs": 10, "durationUs": 800},
            {"phase": "coffee", "lane": "runner", "startUs": 0, "durationUs": 1}]}"#;
        let view: TimelineView = serde_json::from_str(text).unwrap();
        let timeline = view.timeline();
        assert_eq!((timeline.total_us, timeline.spans.len()), (1000, 1));
        assert_eq!(timeline.phase_us(Phase::UserCode), 800);
        assert_eq!(TimelineView::from(&timeline), view);
    }
}
