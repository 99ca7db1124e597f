//! The timelines of a run in the Trace Event format, which Perfetto (`ui.perfetto.dev`) and Chrome (`about:tracing`) open.
//!
//! Each sample and each run of a peer is a process, each lane of a sample a thread, each phase a complete event in microseconds. Only
//! durations are known exactly, so the processes stand one behind the other, in the order in which they were measured, with a fixed pause.

use hybrid_cache_model::sample::{PeerSample, RunRecord, Sample};
use hybrid_cache_model::{Lane, Span};
use serde_json::{Value, json};

use crate::host_noise;
use crate::levels::as_samples;
use crate::samples::reason;

/// Pause between two processes, in microseconds.
const PAUSE_US: u64 = 1000;
/// The thread of the whole sample.
const WHOLE: u64 = 0;
/// Threads that each lane has room for. Spans of a lane do not overlap; if they do in a record, they get further threads.
const THREADS_OF_A_LANE: u64 = 100;

const LANES: [(Lane, &str); 5] = [
    (Lane::Driver, "driver"),
    (Lane::Runner, "runner"),
    (Lane::Python, "python"),
    (Lane::System, "system"),
    (Lane::Publish, "publish"),
];

/// The run as the JSON of a trace.
pub fn trace_events(record: &RunRecord) -> Value {
    let levels = as_samples(record);
    let samples = record.samples.iter().chain(&levels);
    let samples = samples.map(|sample| (sample.sequence, Process::Sample(sample)));
    let peers = record.peers.iter().map(|peer| (peer.sequence, Process::Peer(peer)));
    let mut processes: Vec<(u32, Process<'_>)> = samples.chain(peers).collect();
    processes.sort_by_key(|(sequence, _)| *sequence);
    let mut events = Vec::new();
    let mut start_us = 0;
    for (pid, (_, process)) in (1..).zip(&processes) {
        start_us = process.write(pid, start_us, &mut events) + PAUSE_US;
    }
    json!({
        "displayTimeUnit": "ms",
        "otherData": {
            "program": "hybrid-cache",
            "revision": record.provenance.revision,
            "started_at": record.provenance.started_at,
            "note": "processes stand one behind the other; pauses between them are not those of the run",
        },
        "traceEvents": events,
    })
}

enum Process<'a> {
    Sample(&'a Sample),
    Peer(&'a PeerSample),
}

impl Process<'_> {
    /// Adds the events of a process that starts at this time, and returns when its last one ends.
    fn write(&self, pid: u64, start_us: u64, events: &mut Vec<Value>) -> u64 {
        let sample = match self {
            Process::Sample(sample) => sample,
            Process::Peer(peer) => {
                let name = format!("{} {} #{}", peer.scenario, peer.peer.name(), peer.sequence);
                name_process(pid, &name, events);
                let args = json!({ "place": peer.place, "runner_us": peer.runner_us });
                events.push(complete((pid, WHOLE), &name, "peer", (start_us, peer.wall_us), args));
                return start_us + peer.wall_us;
            }
        };
        let name = format!("{} {} #{}", sample.scenario, sample.temperature.name(), sample.sequence);
        name_process(pid, &name, events);
        let verdict = reason(&sample.acceptance).map_or("counts".to_owned(), |(kind, why)| format!("{kind}: {why}"));
        let args = json!({
            "verdict": verdict,
            "place": sample.place,
            "runner_us": sample.runner_us,
            "started_at": sample.started_at,
            "host_noise": host_noise::of_sample(sample),
        });
        events.push(complete(
            (pid, WHOLE),
            &name,
            "sample",
            (start_us, sample.wall_us),
            args,
        ));
        for (at, (lane, name)) in (0..).zip(LANES) {
            let spans = sample.timeline.spans.iter().filter(|span| span.lane == lane);
            for (thread, span) in threads(spans.collect()) {
                let tid = 1 + at * THREADS_OF_A_LANE + thread.min(THREADS_OF_A_LANE - 1);
                let is_new = |event: &Value| event["pid"] != pid || event["tid"] != tid;
                if events.iter().rev().take_while(|event| event["pid"] == pid).all(is_new) {
                    events.push(metadata("thread_name", (pid, tid), json!({ "name": name })));
                }
                let when = (start_us + span.start_us, span.duration_us);
                events.push(complete((pid, tid), span.phase.label(), name, when, json!({})));
            }
        }
        let last = sample.timeline.spans.iter().map(Span::end_us).max().unwrap_or(0);
        start_us + last.max(sample.wall_us)
    }
}

/// The spans of a lane by their start, each with a thread on which it overlaps no other.
fn threads(mut spans: Vec<&Span>) -> Vec<(u64, &Span)> {
    spans.sort_by_key(|span| (span.start_us, span.end_us()));
    let mut ends: Vec<u64> = Vec::new();
    let mut placed = Vec::new();
    for span in spans {
        let thread = match ends.iter().position(|end| *end <= span.start_us) {
            Some(free) => free,
            None => {
                ends.push(0);
                ends.len() - 1
            }
        };
        ends[thread] = span.end_us();
        placed.push((thread as u64, span));
    }
    placed
}

fn name_process(pid: u64, name: &str, events: &mut Vec<Value>) {
    events.push(metadata("process_name", (pid, WHOLE), json!({ "name": name })));
    events.push(metadata(
        "process_sort_index",
        (pid, WHOLE),
        json!({ "sort_index": pid }),
    ));
    events.push(metadata("thread_name", (pid, WHOLE), json!({ "name": "end-to-end" })));
}

/// A viewer reads no time of metadata; the fields are there so that every event has the same ones.
fn metadata(name: &str, (pid, tid): (u64, u64), args: Value) -> Value {
    json!({ "ph": "M", "name": name, "pid": pid, "tid": tid, "ts": 0, "dur": 0, "args": args })
}

fn complete((pid, tid): (u64, u64), name: &str, category: &str, (ts, dur): (u64, u64), args: Value) -> Value {
    json!({ "ph": "X", "name": name, "cat": category, "pid": pid, "tid": tid, "ts": ts, "dur": dur, "args": args })
}
