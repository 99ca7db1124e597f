//! A proof in sentences and rows: predicted and observed values, the same in every form.

use hybrid_cache_sizing::proof::{Ended, FullStep, Proof, Size, VolumeProof};

use super::section::{Rows, Section};
use crate::units;

/// The part of the report.
pub(super) fn section(proof: &Proof) -> Section {
    Section {
        id: "proof",
        title: "Proof",
        lead: outcome(proof),
        tables: proof.volumes.iter().map(rows).collect(),
        notes: proof.notes.clone(),
    }
}

fn rows(proved: &VolumeProof) -> Rows {
    let scale = if proved.scale < 1.0 {
        format!(", made {:.1} times smaller", 1.0 / proved.scale)
    } else {
        String::new()
    };
    Rows {
        headline: format!(
            "{} requests for {} environments of the {} volume were replayed on real file systems{scale}: predicted / observed",
            units::count(proved.requests),
            units::count(proved.environments),
            proved.volume
        ),
        columns: vec![
            "file system",
            "requests",
            "hit rate",
            "p95",
            "bytes",
            "inodes",
            "evicted",
            "disk full",
            "prediction",
        ],
        rows: proved.sizes.iter().map(|size| row(proved, size)).collect(),
        sentences: sentences(proved),
    }
}

/// One size as a row.
fn row(proved: &VolumeProof, size: &Size) -> Vec<String> {
    let (predicted, seen) = (&size.predicted, &size.observed);
    let pair = |predicted: String, seen: String| format!("{predicted} / {seen}");
    let mark = if size.is_recommended { " (recommended)" } else { "" };
    let requests = if size.requests < size.of {
        format!("{} of {}", units::count(size.requests), units::count(size.of))
    } else {
        units::count(size.requests)
    };
    let fulls = size.met_full + size.refused.len() as u64;
    vec![
        format!("{}{mark}", units::bytes(size.bytes)),
        requests,
        pair(units::share(predicted.hit_rate), units::share(seen.hit_rate)),
        format!(
            "{} ({}–{})",
            pair(units::duration(predicted.p95_us), units::duration(seen.p95_us)),
            units::duration(size.p95_interval_us.0),
            units::duration(size.p95_interval_us.1)
        ),
        pair(units::bytes(predicted.held.bytes), units::bytes(seen.held.bytes)),
        pair(units::count(predicted.held.inodes), units::count(seen.held.inodes)),
        pair(units::count(predicted.evictions), units::count(seen.evictions)),
        units::count(fulls),
        verdict(proved, size),
    ]
}

fn verdict(proved: &VolumeProof, size: &Size) -> String {
    if !size.is_judged() {
        return "too few requests to judge".to_owned();
    }
    let checks = size.checks(proved.recommended_bytes).into_iter();
    let broken: Vec<&str> = checks
        .filter(|check| !check.holds)
        .map(|check| check.quantity.name())
        .collect();
    if broken.is_empty() {
        "holds".to_owned()
    } else {
        format!("does not hold: {}", broken.join(", "))
    }
}

/// Everything that is said below the rows of a volume.
fn sentences(proved: &VolumeProof) -> Vec<String> {
    let mut sentences = Vec::new();
    for size in &proved.sizes {
        for reason in distinct(&size.refused) {
            sentences.push(format!("{}: refused: {reason}", units::bytes(size.bytes)));
        }
        for problem in &size.problems {
            sentences.push(format!("{}: verify: {problem}", units::bytes(size.bytes)));
        }
    }
    sentences.push(
        "p95 has a 95 % interval by order statistics: the prediction does not hold if the whole interval is more than 20 % away".to_owned(),
    );
    sentences.extend(proved.full.iter().map(full));
    sentences.extend(proved.notes.iter().cloned());
    sentences
}

fn distinct(texts: &[String]) -> Vec<String> {
    let mut distinct: Vec<String> = texts.iter().map(|text| text.replace('\n', "; ")).collect();
    distinct.sort();
    distinct.dedup();
    distinct
}

fn full(step: &FullStep) -> String {
    let mut text = format!(
        "{} ({} free): {} of {} new environments were prepared, {} others evicted",
        step.what,
        units::bytes(step.free_bytes),
        step.served,
        step.requests,
        step.evicted
    );
    for reason in distinct(&step.refused) {
        text.push_str(&format!("; refused: {reason}"));
    }
    if step.unclear > 0 {
        text.push_str(&format!(
            "; {} refusals do not say that the volume is full",
            step.unclear
        ));
    }
    match step.problems.len() {
        0 => text.push_str("; verify finds nothing wrong"),
        count => text.push_str(&format!(
            "; verify finds {count} problems: {}",
            step.problems.join(", ")
        )),
    }
    text
}

/// What the whole proof comes to.
fn outcome(proof: &Proof) -> String {
    let judged = proof.judged();
    let broken: usize = proof.volumes.iter().map(|proved| proved.broken().len()).sum();
    let mut text = match (judged, broken) {
        (0, _) => "no replay was long enough to judge a prediction".to_owned(),
        (_, 0) if proof.holds() => format!("every prediction holds, at {judged} sizes"),
        (_, 0) => "every prediction holds, but a full volume was not handled correctly".to_owned(),
        (_, 1) => "one prediction does not hold".to_owned(),
        _ => format!("{broken} predictions do not hold"),
    };
    match proof.ended {
        Some(Ended::Interrupted) => text.push_str(" (it was interrupted)"),
        Some(Ended::Late) => text.push_str(" (it ran out of time)"),
        None => {}
    }
    text
}
