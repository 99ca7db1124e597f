//! What a task prints: without end, in the form of others' lines, or with orders for a terminal.

use std::time::Instant;

use hybrid_cache_driver::kube::noise::Filter;
use hybrid_cache_model::Protection;

use crate::attack::{Attack, LOCAL, Verdict, Work};
use crate::error::TrialError;
use crate::ground::Ground;

pub const ATTACKS: &[Attack] = &[
    Attack {
        id: "output-like-argos",
        promise: Protection::ArgoLineBound,
        tries: "A task prints a mebibyte of what begins like Argo's own lines, without the end of a line.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        work: Work::Steps(|ground| Box::pin(like_argos(ground))),
    },
    Attack {
        id: "output-with-escapes",
        promise: Protection::TerminalEscapes,
        tries: "A task prints escapes that set a terminal's title, its clipboard and its keys.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        work: Work::Steps(|ground| Box::pin(with_escapes(ground))),
    },
];

async fn like_argos(_ground: &Ground) -> Result<Verdict, TrialError> {
    const SIZE: usize = 1 << 20;
    const MOST_HELD: usize = 64 << 10;
    let mut found = Vec::new();
    for word in ["time=\"", "{\"argo\":true,", "time=\"x argo=true "] {
        let log = word.as_bytes().repeat(SIZE / word.len());
        let (mut filter, mut passed) = (Filter::default(), Vec::new());
        let began = Instant::now();
        let mut most_held = 0;
        for (number, piece) in log.chunks(16 << 10).enumerate() {
            filter.take(piece, &mut passed);
            most_held = most_held.max((number + 1) * (16 << 10) - passed.len().min((number + 1) * (16 << 10)));
            if began.elapsed().as_secs() >= 2 {
                found.push(format!(
                    "filtering {} KiB of `{word}` takes more than 2 s",
                    (number + 1) * 16
                ));
                break;
            }
        }
        if most_held > MOST_HELD {
            found.push(format!("{} KiB of `{word}` are held back", most_held >> 10));
        }
    }
    Ok(Verdict::held_if_none(&found))
}

async fn with_escapes(_ground: &Ground) -> Result<Verdict, TrialError> {
    Ok(Verdict::not_held("output is passed to a terminal as it is"))
}
