//! The Rust client against the service itself.

use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

use hybrid_cache_api::{
    CancelResult, Client, ClientError, EndName, Event, ListQuery, OutputQuery, ProblemType, StateName, StreamName,
    TaskSpec,
};
use hybrid_cache_model::End;
use hybrid_cache_service::http::{Access, Tokens};
use tokio::task::spawn_blocking;

use super::place::{self, Place};

const TOKEN: &str = "correct-horse-battery-staple-0123456789";

fn client(place: &Place) -> Client {
    Client::new(&format!("http://{}", place.address)).unwrap()
}

async fn with_client<T: Send + 'static>(place: &Place, work: impl FnOnce(&Client) -> T + Send + 'static) -> T {
    let client = client(place);
    spawn_blocking(move || work(&client)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_submits_runs_follows_reads_lists_and_deletes_a_task() {
    let place = place::start().await;
    with_client(&place, |client| {
        assert_eq!(client.health().unwrap().status, "ok");
        assert_eq!(client.ready().unwrap().driver, None);
        let spec = TaskSpec::new("print one\nerr two\nprint three");
        let id = client.submit(&spec, Some("key-1")).unwrap().id;
        assert_eq!(client.submit(&spec, Some("key-1")).unwrap().id, id);
        assert_eq!(client.get(&id).unwrap().request, spec);
        assert_eq!(client.run(&id).unwrap().id, id);
        let mut events = client.follow(&id, OutputQuery::default()).unwrap();
        let mut printed = [String::new(), String::new()];
        let mut first = None;
        let end = loop {
            match events.next_event().unwrap().expect("the end comes before the stream's") {
                Event::Output { stream, text, next } => {
                    first = first.or(next);
                    printed[usize::from(stream == StreamName::Stderr)].push_str(&text);
                }
                Event::End(end) => break end,
            }
        };
        events.finish();
        assert_eq!(printed, ["one\nthree\n", "two\n"]);
        assert_eq!((end.end, end.exit_code), (Some(EndName::Exited), Some(0)));
        let query = OutputQuery {
            stream: Some(StreamName::Stdout),
            from: first.unwrap(),
        };
        let mut rest = String::new();
        client.output(&id, query).unwrap().read_to_string(&mut rest).unwrap();
        assert!("one\nthree\n".ends_with(&rest) && rest.len() < 10, "{rest}");
        let task = client.get(&id).unwrap();
        assert_eq!(task.outcome().end, End::Exited { code: 0 });
        assert_eq!(task.summary.state, StateName::Ended);
        assert!(client.metrics().unwrap().contains("hybrid_cache_build_info{"));
        client.delete(&id).unwrap();
        assert!(matches!(client.get(&id), Err(ClientError::Refused { problem, .. }) if problem.code == ProblemType::NotFound));
    })
    .await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_pages_through_a_filtered_list_and_cancels() {
    let place = place::start().await;
    with_client(&place, |client| {
        let submit = |code: &str| client.submit(&TaskSpec::new(code), None).unwrap().id;
        let mut ids: Vec<_> = (0..5).map(|number| submit(&format!("print {number}"))).collect();
        let held = submit("hold");
        client.run(&held).unwrap();
        let mut query = ListQuery {
            states: vec![StateName::Saved, StateName::Ended],
            limit: Some(2),
            ..ListQuery::default()
        };
        let mut listed = Vec::new();
        loop {
            let page = client.list(&query).unwrap();
            assert!(page.items.len() <= 2);
            listed.extend(page.items.into_iter().map(|task| task.id));
            query.cursor = page.next;
            if query.cursor.is_none() {
                break;
            }
        }
        ids.reverse();
        assert_eq!(listed, ids);
        let mut labeled = TaskSpec::new("print labeled");
        labeled.labels.insert("example.org/team".to_owned(), "blue".to_owned());
        let labeled = client.submit(&labeled, None).unwrap().id;
        let by_label = client.list(&ListQuery {
            labels: vec![("example.org/team".to_owned(), "blue".to_owned())],
            ..ListQuery::default()
        });
        let by_label = by_label.unwrap().items;
        assert_eq!((by_label.len(), &by_label[0].id), (1, &labeled));
        assert_eq!(by_label[0].labels["example.org/team"], "blue");
        assert!(matches!(
            client.cancel(&held).unwrap().result,
            CancelResult::Cancelled | CancelResult::Ending
        ));
        assert_eq!(client.cancel(&ids[0]).unwrap().result, CancelResult::Cancelled);
        assert_eq!(client.cancel(&ids[0]).unwrap().result, CancelResult::Unchanged);
        let refused = client.list(&ListQuery {
            limit: Some(500),
            ..ListQuery::default()
        });
        let problem = refused.unwrap_err();
        let problem = problem.problem().unwrap();
        assert_eq!(
            (problem.code, problem.parameter.as_deref()),
            (ProblemType::InvalidParameter, Some("limit"))
        );
    })
    .await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_request_is_a_typed_error_with_the_problem_document() {
    let place = place::start_with(|config| config.queue = 0, |_| {}).await;
    with_client(&place, |client| {
        let wrong = TaskSpec {
            requirements_file: "numpy\n--index-url=x".to_owned(),
            ..TaskSpec::new("1")
        };
        let error = client.submit(&wrong, None).unwrap_err();
        let problem = error.problem().unwrap();
        assert_eq!((problem.code, problem.line), (ProblemType::InvalidTask, Some(2)));
        assert!(error.to_string().contains("\nhint: "), "{error}");
        let id = client.submit(&TaskSpec::new("print 1"), None).unwrap().id;
        match client.run(&id).unwrap_err() {
            ClientError::Busy {
                problem, retry_after, ..
            } => {
                assert_eq!(problem.code, ProblemType::QueueFull);
                assert_eq!(problem.retry_after_seconds, Some(retry_after.as_secs()));
            }
            other => panic!("{other}"),
        }
    })
    .await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_sends_its_token_and_a_service_that_requires_one_denies_access_without() {
    let tokens = Tokens::read(TOKEN).unwrap();
    let place = place::start_with(|_| {}, |http| http.access = Access::Tokens(tokens)).await;
    let url = format!("http://{}", place.address);
    let asking = spawn_blocking(move || {
        let with = Client::builder(&url).unwrap().token(TOKEN).unwrap().build();
        with.list(&ListQuery::default()).unwrap();
        assert!(!format!("{with:?}").contains(TOKEN));
        let without = Client::new(&url).unwrap().list(&ListQuery::default()).unwrap_err();
        assert!(
            matches!(&without, ClientError::Unauthorized { problem, .. } if problem.code == ProblemType::Unauthorized)
        );
    });
    asking.await.unwrap();
    place.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_at_the_address_and_a_service_that_is_silent_are_unreachable() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let addresses = [silent.local_addr().unwrap(), nobody];
    let asking = spawn_blocking(move || {
        for address in addresses {
            let client = Client::builder(&format!("http://{address}")).unwrap();
            let client = client.response_timeout(Duration::from_millis(200)).build();
            let error = client.health().unwrap_err();
            assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
        }
    });
    tokio::time::timeout(place::PATIENCE, asking).await.unwrap().unwrap();
}
