//! Attacks through a task's output: endless output, imitations of other lines, and terminal control sequences.

use std::time::Instant;

use hybrid_cache_driver::kube::logs::argo_lines::ArgoLineFilter;
use hybrid_cache_driver::log::{LogWriter, Stream};
use hybrid_cache_model::Protection;
use hybrid_cache_model::protocol::Limits;
use hybrid_cache_model::shown::shown;

use crate::attack::{Attack, AttackMethod};
use crate::attack_context::AttackContext;
use crate::error::TrialError;
use crate::site::LOCAL;
use crate::verdict::Verdict;

pub const ATTACKS: &[Attack] = &[
    Attack {
        id: "output-like-argos",
        promise: Protection::ArgoLineBound,
        tries: "A task prints a mebibyte of what begins like Argo's own lines, without the end of a line.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(like_argos(ground))),
    },
    Attack {
        id: "output-past-the-runner",
        promise: Protection::OutputBound,
        tries: "Output comes to the driver past the runner's bound, eight mebibytes for a task that may print 64 KiB.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(past_the_runner(ground))),
    },
    Attack {
        id: "output-with-escapes",
        promise: Protection::TerminalEscapes,
        tries: "A task prints escapes that set a terminal's title, its clipboard and its keys.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(with_escapes(ground))),
    },
];

/// A log that repeats one word, and a log that begins like Argo's line and never ends.
fn log(word: &str, size: usize) -> Vec<u8> {
    match word.strip_suffix('…') {
        Some(start) => [start.as_bytes(), &vec![b'x'; size]].concat(),
        None => word.as_bytes().repeat(size / word.len()),
    }
}

async fn like_argos(_ground: &AttackContext) -> Result<Verdict, TrialError> {
    const SIZE: usize = 1 << 20;
    const MOST_HELD: usize = 64 << 10;
    let mut found = Vec::new();
    for word in ["time=\"", "{\"argo\":true,", "time=\"x argo=true ", "time=\"…"] {
        let log = log(word, SIZE);
        let (mut filter, mut passed) = (ArgoLineFilter::default(), Vec::new());
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

async fn with_escapes(_ground: &AttackContext) -> Result<Verdict, TrialError> {
    // In order: a title, the clipboard, a key that types, a cleared screen, C1 as one character, an override, a backspace.
    let all = [
        "\u{1b}]0;title\u{7}",
        "\u{1b}]52;c;c2VjcmV0\u{7}",
        "\u{1b}P$q\u{1b}\\",
        "\u{1b}[2J\u{1b}[H",
        "\u{9b}31m",
        "user\u{202e}txt.exe",
        "good\u{8}\u{8}\u{8}\u{8}bad",
        "line\rother",
        "\u{1b}]8;;http://example.invalid\u{7}link",
    ];
    let is_order = |c: char| (c.is_control() && c != '\n' && c != '\t') || ('\u{202a}'..='\u{202e}').contains(&c);
    let mut found = Vec::new();
    for text in all {
        if shown(text).chars().any(is_order) {
            found.push(format!("{} reaches the terminal", text.escape_debug()));
        }
    }
    Ok(Verdict::held_if_none(&found))
}

async fn past_the_runner(_ground: &AttackContext) -> Result<Verdict, TrialError> {
    const LIMIT: u64 = 64 << 10;
    const MOST: usize = 1 << 20;
    let log = LogWriter::new();
    log.hold_to(&Limits {
        output_bytes: LIMIT,
        ..Limits::default()
    });
    for _ in 0..128 {
        log.append(Stream::Stdout, &[b'x'; 64 << 10]);
    }
    let kept = log.collect(Stream::Stdout).len();
    Ok(if kept > MOST {
        Verdict::not_held(format!(
            "{} KiB are kept of a task that may print {}",
            kept >> 10,
            LIMIT >> 10
        ))
    } else {
        Verdict::Held
    })
}
