//! Tests of the client against a server that answers as a test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hybrid_cache_api::{Client, ClientError, Problem, ProblemType};
use hybrid_cache_model::{End, Phase, TaskSpec};
use hybrid_cache_tools::ErrorClass;

use super::failure::{TaskError, client_error};
use super::task::{self, Control};
use super::{connect, who};

const ENDED: &str = "event: end\ndata: {\"end\":\"exited\",\"exitCode\":0,\"state\":\"ended\"}\n\n";
const TASK: &str = r#""state": "ended", "end": "exited", "exitCode": 0, "runnerUs": 5,
    "queuedAt": "2026-01-01T00:00:00Z", "startedAt": "2026-01-01T00:00:00.000002Z",
    "cache": {"python": {"status": "hit"}, "system": {"status": "notAsked"}},
    "timeline": {"totalUs": 10, "spans": [{"phase": "user_code", "lane": "runner", "startUs": 0, "durationUs": 4}]}"#;

/// An answer of a test's server: status, further header lines, body.
pub type Answer = (u16, &'static str, String);

/// A normal answer with this body.
pub fn fine(body: &str) -> Answer {
    (200, "", body.to_owned())
}

/// A refusal as the service words it.
pub fn refusal(class: ProblemType, headers: &'static str) -> Answer {
    (class.status(), headers, Problem::new(class, "why").json())
}

/// Everything of a task, with these fields.
pub fn task_json(id: &str, fields: &str) -> String {
    format!(
        r#"{{"id": "{id}", "createdAt": "2026-01-01T00:00:00Z", "cancelRequested": false, "warnings": [],
        "request": {{"pythonCode": "print(1)", "useCache": true}},
        "output": {{"stdout": "", "stderr": "", "stdoutBytes": 0, "stderrBytes": 0, "truncated": false}}, {fields}}}"#
    )
}

/// A server with one answer a connection.
pub struct TestServer {
    /// Address of the server.
    pub url: String,
    /// The requests received, in order.
    pub asked: Arc<Mutex<Vec<String>>>,
}

/// Answers as a healthy service does, unless `other` returns an answer for a request line and the number of such requests so far.
pub fn serve(other: impl Fn(&str, usize) -> Option<Answer> + Send + Sync + 'static) -> TestServer {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let (seen, other) = (Arc::clone(&asked), Arc::new(other));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (seen, other) = (Arc::clone(&seen), Arc::clone(&other));
            thread::spawn(move || converse(stream.unwrap(), &seen, other.as_ref()));
        }
    });
    TestServer { url, asked }
}

fn converse(
    mut stream: TcpStream,
    seen: &Mutex<Vec<String>>,
    other: &(dyn Fn(&str, usize) -> Option<Answer> + Send + Sync),
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut line, mut length, mut token) = (String::new(), 0, String::new());
    reader.read_line(&mut line).unwrap();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        if let Some(value) = header.strip_prefix("authorization: ") {
            token = format!(" as {value}");
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
    let request = format!("{}{token}", line.trim().trim_end_matches(" HTTP/1.1"));
    let like = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.iter().filter(|known| **known == request).count()
    };
    let (status, headers, body) = other(&request, like).unwrap_or_else(|| healthy(&request));
    let length = body.len();
    // A stopped client no longer reads.
    let _ = write!(
        stream,
        "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
}

fn healthy(request: &str) -> Answer {
    let (request, _) = request.split_once(" as ").unwrap_or((request, ""));
    match request {
        "POST /api/v1/tasks/submit" => fine(r#"{"id": "task-abc123", "message": ""}"#),
        "GET /metrics" => fine("hybrid_cache_build_info{version=\"1.2.3\",driver=\"local\"} 1\n"),
        "GET /api/v1/tasks/task-abc123" => fine(&task_json("task-abc123", TASK)),
        "GET /healthz" => fine(r#"{"status": "ok"}"#),
        "DELETE /api/v1/tasks/task-abc123" => (204, "", String::new()),
        follow if follow.contains("/logs?from=0&follow=true") => {
            fine(&format!("id: 2\nevent: stdout\ndata: \"1\\n\"\n\n{ENDED}"))
        }
        run if run.ends_with("/run") => fine(r#"{"id": "task-abc123", "state": "queued"}"#),
        cancel if cancel.ends_with("/cancel") => fine(r#"{"id": "task-abc123", "result": "ending"}"#),
        _ => fine("{}"),
    }
}

fn client(server: &TestServer) -> Client {
    Client::new(&server.url).unwrap()
}

fn run(server: &TestServer) -> Result<task::Done, TaskError> {
    task::run(&client(server), &TaskSpec::new("print(1)"), &Control::default(), true)
}

#[test]
fn a_run_is_submitted_run_followed_read_and_deleted() {
    let server = serve(|_, _| None);
    let done = run(&server).unwrap();
    assert_eq!(
        (done.run.stdout.as_str(), done.refusals, done.settled),
        ("1\n", 0, true)
    );
    assert_eq!(done.run.outcome.end, End::Exited { code: 0 });
    assert_eq!(done.run.disturbed, None);
    let spent = [Phase::Service, Phase::Queue, Phase::UserCode].map(|phase| done.run.timeline.phase_us(phase));
    assert_eq!(spent, [done.run.moment.wall_us - 12, 2, 4]);
    let asked = [
        "POST /api/v1/tasks/submit",
        "POST /api/v1/tasks/task-abc123/run",
        "GET /api/v1/tasks/task-abc123/logs?from=0&follow=true",
        "GET /metrics",
        "GET /api/v1/tasks/task-abc123",
        "DELETE /api/v1/tasks/task-abc123",
    ];
    assert_eq!(*server.asked.lock().unwrap(), asked);
    let record = who(&client(&server)).unwrap();
    assert_eq!(
        (record.version.as_str(), record.driver.as_deref(), record.same_machine),
        ("1.2.3", Some("local"), true)
    );
}

#[test]
fn the_token_is_sent_and_a_service_that_wants_one_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "letmein\n").unwrap();
    let server =
        serve(|request, _| (!request.ends_with(" as bearer letmein")).then(|| refusal(ProblemType::Unauthorized, "")));
    let with = connect::client(&server.url, Some(&file)).unwrap().build();
    assert!(with.health().is_ok());
    let refused = client_error(&who(&client(&server)).unwrap_err());
    let text = refused.to_string();
    assert!(
        text.contains("A token is required: why (HTTP 401)") && text.contains("--token-file"),
        "{text}"
    );
    assert_eq!(refused.class(), ErrorClass::Input);
}

#[test]
fn a_busy_service_is_asked_again_when_it_says_and_the_wait_is_in_no_sample() {
    let busy = || refusal(ProblemType::TooMany, "Retry-After: 1\r\n");
    let server = serve(move |request, like| (request == "POST /api/v1/tasks/submit" && like == 1).then(busy));
    let began = Instant::now();
    let done = run(&server).unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert!(done.run.moment.wall_us < 900_000, "{}", done.run.moment.wall_us);
    assert_eq!((done.refusals, done.run.disturbed), (1, None));
}

#[test]
fn a_service_that_stays_busy_is_given_up_however_short_each_wait_is() {
    let busy = || refusal(ProblemType::TooMany, "Retry-After: 1\r\n");
    let server = serve(move |request, like| {
        // These are more refusals than the time limit allows; the refusals end, in case the client never gives up.
        (request == "POST /api/v1/tasks/submit" && like <= 5).then(busy)
    });
    let client = Client::new(&server.url).unwrap();
    let patience = Duration::from_secs(2);
    let error = task::run_within(
        &client,
        &TaskSpec::new("print(1)"),
        &Control::default(),
        false,
        patience,
    )
    .err()
    .unwrap();
    assert!(matches!(error, TaskError::Client(ClientError::Busy { .. })), "{error}");
    assert_eq!(server.asked.lock().unwrap().len(), 3);
    assert_eq!(error.into_error().class(), ErrorClass::Prerequisite);
}

#[test]
fn a_service_that_wants_more_patience_than_there_is_is_given_up_and_its_task_deleted() {
    let busy = || refusal(ProblemType::QueueFull, "Retry-After: 3000\r\n");
    let server = serve(move |request, _| request.ends_with("/run").then(busy));
    let error = run(&server).err().unwrap();
    assert!(error.to_string().contains("The queue is full"), "{error}");
    assert_eq!(error.into_error().class(), ErrorClass::Prerequisite);
    assert!(server.asked.lock().unwrap().last().unwrap().starts_with("DELETE "));
}

#[test]
fn a_connection_that_breaks_is_made_again_and_what_was_measured_does_not_count() {
    let server = serve(|request, _| match request {
        "GET /api/v1/tasks/task-abc123/logs?from=0&follow=true" => {
            Some(fine("id: 2\nevent: stdout\ndata: \"1\\n\"\n\nevent: end\n"))
        }
        "GET /api/v1/tasks/task-abc123/logs?from=2&follow=true" => {
            Some(fine(&format!("id: 4\nevent: stdout\ndata: \"2\\n\"\n\n{ENDED}")))
        }
        _ => None,
    });
    let done = run(&server).unwrap();
    assert_eq!(done.run.stdout, "1\n2\n");
    assert!(done.run.disturbed.unwrap().contains("the connection broke"));
}

#[test]
fn a_service_that_is_gone_in_the_middle_is_named_and_nobody_waits_for_ever() {
    let server = serve(|request, _| {
        let gone = || (502, "", "nobody behind the proxy".to_owned());
        request.contains("/logs").then(gone)
    });
    let error = run(&server).err().unwrap();
    assert!(error.to_string().contains("does not answer"), "{error}");
    assert_eq!(error.into_error().class(), ErrorClass::Prerequisite);
    assert!(server.asked.lock().unwrap().last().unwrap().starts_with("DELETE "));
}

#[test]
fn who_stops_cancels_and_leaves_no_task_behind() {
    let cancelled = Arc::new(Mutex::new(false));
    let heard = Arc::clone(&cancelled);
    let server = serve(move |request, _| {
        if request.ends_with("/cancel") {
            *heard.lock().unwrap() = true;
        }
        if request.contains("/logs") {
            let began = Instant::now();
            while !*heard.lock().unwrap() && began.elapsed() < Duration::from_secs(20) {
                thread::sleep(Duration::from_millis(5));
            }
        }
        None
    });
    let control = Arc::new(Control::default());
    let (worker, asking) = (Arc::clone(&control), client(&server));
    let work = thread::spawn(move || task::run(&asking, &TaskSpec::new("1"), &worker, true).err());
    let began = Instant::now();
    while !server
        .asked
        .lock()
        .unwrap()
        .iter()
        .any(|request| request.contains("/logs"))
    {
        assert!(began.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(5));
    }
    let id = control.stop().unwrap();
    client(&server).cancel(&id).unwrap();
    // The task is deleted, whether the client was stopped in time or found the task ended.
    let _ = work.join().unwrap();
    assert!(
        server
            .asked
            .lock()
            .unwrap()
            .iter()
            .any(|request| request.starts_with("DELETE "))
    );
    // A client that is stopped before its task exists starts none.
    let early = Control::default();
    assert_eq!(early.stop(), None);
    let error = task::run(&client(&server), &TaskSpec::new("1"), &early, true)
        .err()
        .unwrap();
    assert!(matches!(error, TaskError::Stopped), "{error}");
}

#[test]
fn something_else_behind_the_address_is_told_from_nothing() {
    let other = serve(|_, _| Some((404, "", "<html>".to_owned())));
    let text = serve(|_, _| Some(fine("<html>")));
    for server in [&other, &text] {
        let error = client_error(&who(&client(server)).unwrap_err());
        assert!(
            error.to_string().contains("is not a task service of hybrid-cache"),
            "{error}"
        );
        assert_eq!(error.class(), ErrorClass::Prerequisite);
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = client_error(&who(&Client::new(&format!("http://{nobody}")).unwrap()).unwrap_err());
    let text = error.to_string();
    assert!(
        text.contains("does not answer") && text.contains("cargo xtask serve"),
        "{text}"
    );
    assert_eq!(error.class(), ErrorClass::Prerequisite);
}
