//! A task's life as a client sees it.

use serde_json::json;

use super::place;

#[tokio::test]
async fn the_documented_calls_work() {
    let place = place::start().await;
    let body = json!({"pythonCode": "print hello\nerr oh", "dependencies": "numpy,pandas", "requirementsFile": "numpy>=1.0.0\n",
        "systemDependencies": "gcc,make", "useCache": true});
    let answer = place.submit(body.to_string()).await;
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let message = format!("Task saved successfully. Use /api/v1/tasks/{id}/run to execute it.");
    assert_eq!(answer.text(), json!({"id": id, "message": message}).to_string());
    assert_eq!(place.task(&id).await["state"], "saved");
    assert_eq!(place.post(&format!("/api/v1/tasks/{id}/run")).await.status, 202);
    let task = place.until(&id, "ended").await;
    assert_eq!((&task["exitCode"], &task["end"]), (&json!(0), &json!("exited")));
    assert_eq!(
        (&task["output"]["stdout"], &task["output"]["stderr"]),
        (&json!("hello\n"), &json!("oh\n"))
    );
    assert_eq!(task["cache"]["python"]["status"], "hit");
    assert_eq!(task["timeline"]["spans"][0]["phase"], "user_code");
    assert_eq!(task["request"]["pythonCode"], "print hello\nerr oh");
    let logs = place.get(&format!("/api/v1/tasks/{id}/logs")).await;
    assert_eq!(
        (logs.text().as_str(), logs.header("content-type")),
        ("hello\noh\n", "text/plain; charset=utf-8")
    );
    assert_eq!(
        place
            .get(&format!("/api/v1/tasks/{id}/logs?stream=stderr"))
            .await
            .text(),
        "oh\n"
    );
    place.end().await;
}

#[tokio::test]
async fn running_twice_runs_once() {
    let place = place::start().await;
    let id = place.started("hold").await;
    place.until(&id, "running").await;
    for _ in 0..5 {
        let again = place.post(&format!("/api/v1/tasks/{id}/run")).await;
        assert_eq!((again.status, &again.json()["state"]), (202, &json!("running")));
    }
    let cancel = place.post(&format!("/api/v1/tasks/{id}/cancel")).await;
    assert_eq!((cancel.status, &cancel.json()["result"]), (202, &json!("ending")));
    let task = place.until(&id, "cancelled").await;
    assert_eq!(task["cancelRequested"], false, "{task}");
    assert_eq!(place.driver.times_started(&id), 1);
    place.end().await;
}

#[tokio::test]
async fn run_after_cancel_and_cancel_after_end() {
    let place = place::start().await;
    let never = place.saved("print x").await;
    let cancel = place.post(&format!("/api/v1/tasks/{never}/cancel")).await;
    assert_eq!((cancel.status, &cancel.json()["result"]), (200, &json!("cancelled")));
    let run = place.post(&format!("/api/v1/tasks/{never}/run")).await;
    assert_eq!((run.status, run.problem().0.as_str()), (409, "conflict"));
    assert!(run.json()["hint"].is_string());
    let done = place.started("print x").await;
    place.until(&done, "ended").await;
    let cancel = place.post(&format!("/api/v1/tasks/{done}/cancel")).await;
    assert_eq!((cancel.status, &cancel.json()["result"]), (200, &json!("unchanged")));
    assert_eq!(place.task(&done).await["state"], "ended");
    let run = place.post(&format!("/api/v1/tasks/{done}/run")).await;
    assert_eq!((run.status, &run.json()["state"]), (202, &json!("ended")));
    assert_eq!(place.driver.times_started(&done), 1);
    place.end().await;
}

#[tokio::test]
async fn deleting_forgets_everything() {
    let place = place::start().await;
    let held = place.started("hold").await;
    place.until(&held, "running").await;
    let refused = place.send("DELETE", &format!("/api/v1/tasks/{held}"), &[], "").await;
    assert_eq!((refused.status, refused.problem().0.as_str()), (409, "conflict"));
    let done = place.started("print x").await;
    place.until(&done, "ended").await;
    let path = format!("/api/v1/tasks/{done}");
    let gone = place.send("DELETE", &path, &[], "").await;
    assert_eq!((gone.status, gone.body.len()), (204, 0));
    for (method, end) in [("DELETE", ""), ("GET", ""), ("GET", "/logs"), ("POST", "/run")] {
        assert_eq!(place.send(method, &format!("{path}{end}"), &[], "").await.status, 404);
    }
    place.post(&format!("/api/v1/tasks/{held}/cancel")).await;
    place.end().await;
}

#[tokio::test]
async fn an_idempotency_key_belongs_to_one_task() {
    let place = place::start().await;
    let submit = async |key: &str, code: &str| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        let body = json!({"pythonCode": code}).to_string();
        place.send("POST", "/api/v1/tasks/submit", &headers, body).await
    };
    let first = submit("key-1", "print x").await;
    let again = submit("key-1", "print x").await;
    assert_eq!(first.json()["id"], again.json()["id"]);
    assert_eq!(
        (
            first.header("idempotency-replayed"),
            again.header("idempotency-replayed")
        ),
        ("", "true")
    );
    assert_ne!(submit("key-2", "print x").await.json()["id"], first.json()["id"]);
    let other = submit("key-1", "print y").await;
    assert_eq!(
        (other.status, other.problem().0.as_str()),
        (422, "idempotency_mismatch")
    );
    for bad in ["", "a b", &"k".repeat(256), "schlüssel"] {
        let answer = submit(bad, "print x").await;
        assert_eq!(
            (answer.status, answer.problem().0.as_str()),
            (400, "invalid_parameter"),
            "{bad}"
        );
        assert_eq!(answer.json()["parameter"], "Idempotency-Key");
    }
    place.end().await;
}

#[tokio::test]
async fn the_pages_of_a_list_fit_together() {
    let place = place::start().await;
    let mut ids = Vec::new();
    for number in 0..7 {
        ids.push(place.saved(&format!("print {number}")).await);
    }
    let started = place.started("print x").await;
    place.until(&started, "ended").await;
    ids.push(started.clone());
    ids.reverse();
    let mut seen = Vec::new();
    let mut path = "/api/v1/tasks?limit=3".to_owned();
    loop {
        let part = place.get(&path).await.json();
        let items = part["items"].as_array().unwrap();
        assert!(items.len() <= 3);
        seen.extend(items.iter().map(|task| task["id"].as_str().unwrap().to_owned()));
        // Tasks submitted meanwhile do not shift the pages.
        place.saved("print later").await;
        match part["next"].as_str() {
            Some(next) => path = format!("/api/v1/tasks?limit=3&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    let ended = place.get("/api/v1/tasks?state=ended,cancelled&end=exited").await.json();
    assert_eq!(ended["items"].as_array().unwrap().len(), 1);
    assert_eq!(ended["items"][0]["id"], started.as_str());
    place.end().await;
}

#[tokio::test]
async fn a_full_queue_says_when_to_try_again() {
    let place = place::start_with(
        |config| {
            config.concurrency = 1;
            config.queue = 2;
        },
        |_| {},
    )
    .await;
    let first = place.started("hold").await;
    place.until(&first, "running").await;
    let waiting = [place.started("hold").await, place.started("hold").await];
    let id = place.saved("print x").await;
    let full = place.post(&format!("/api/v1/tasks/{id}/run")).await;
    assert_eq!((full.status, full.problem().0.as_str()), (429, "queue_full"));
    let after: u64 = full.header("retry-after").parse().unwrap();
    assert_eq!(full.json()["retryAfterSeconds"], after);
    for id in waiting.iter().chain([&first]) {
        place.post(&format!("/api/v1/tasks/{id}/cancel")).await;
    }
    place.until(&first, "cancelled").await;
    assert_eq!(place.post(&format!("/api/v1/tasks/{id}/run")).await.status, 202);
    place.until(&id, "ended").await;
    place.end().await;
}

#[tokio::test]
async fn a_driver_that_is_down_is_reported_and_tasks_are_accepted() {
    let place = place::start().await;
    place.driver.down.store(true, std::sync::atomic::Ordering::SeqCst);
    let id = place.started("print x").await;
    let waiting = async {
        loop {
            let task = place.task(&id).await;
            if task["waitingFor"].is_string() {
                return task;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let task = tokio::time::timeout(place::PATIENCE, waiting).await.unwrap();
    assert_eq!(task["state"], "queued");
    let ready = place.get("/readyz").await;
    assert_eq!(ready.status, 200);
    assert!(ready.json()["driver"].is_string(), "{ready:?}");
    assert!(place.get("/metrics").await.text().contains("hybrid_cache_driver_up 0"));
    assert!(place.get("/").await.text().contains("The driver does not answer."));
    place.driver.down.store(false, std::sync::atomic::Ordering::SeqCst);
    place.until(&id, "ended").await;
    place.end().await;
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let place = place::start().await;
    let id = place.started("print x").await;
    place.until(&id, "ended").await;
    place.saved("print y").await;
    place.get("/api/v1/tasks/nothing").await;
    let metrics = place.get("/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    let text = metrics.text();
    for line in [
        "hybrid_cache_tasks{state=\"ended\"} 1",
        "hybrid_cache_tasks{state=\"saved\"} 1",
        "hybrid_cache_tasks_ended_total{end=\"exited\"} 1",
        "hybrid_cache_cache_answers_total{cache=\"python\",answer=\"hit\"} 1",
        "hybrid_cache_cache_hit_ratio{cache=\"python\"} 1",
        "hybrid_cache_phase_seconds_count{phase=\"user_code\"} 1",
        "hybrid_cache_task_seconds_count 1",
        "hybrid_cache_queue_depth 0",
        "hybrid_cache_http_request_seconds_count{route=\"/api/v1/tasks/submit\",method=\"POST\",status=\"2xx\"} 2",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    // Each family is declared once, and every sample has a number.
    let mut families: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let count = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), count);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
    }
    place.end().await;
}

#[tokio::test]
async fn a_changed_task_is_never_served_from_the_cache() {
    let place = place::start().await;
    let id = place.saved("print x").await;
    let path = format!("/api/v1/tasks/{id}");
    for _ in 0..3 {
        assert_eq!(place.task(&id).await["state"], "saved");
    }
    assert_eq!(place.post(&format!("{path}/run")).await.status, 202);
    assert_ne!(place.task(&id).await["state"], "saved");
    let ended = place.until(&id, "ended").await;
    assert_eq!(ended["output"]["stdout"], "x\n");
    // What is known only after the end (here: a span of publishing) is also shown.
    let settled = async {
        while place.task(&id).await["timeline"]["spans"].as_array().unwrap().len() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(place::PATIENCE, settled).await.unwrap();
    place.send("DELETE", &path, &[], "").await;
    assert_eq!(place.get(&path).await.status, 404);
    place.end().await;
}

#[tokio::test]
async fn a_service_without_room_is_not_ready_and_sets_retry_after() {
    let place = place::start_with(|config| config.database_bytes = Some(1 << 20), |_| {}).await;
    assert_eq!(place.get("/readyz").await.status, 200);
    let body = serde_json::json!({"pythonCode": "x".repeat(20_000)}).to_string();
    let json = [("content-type", "application/json")];
    let refused = loop {
        let answer = place::send(place.address, "POST", "/api/v1/tasks/submit", &json, body.clone()).await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, "60"),
        "{refused:?}"
    );
    let asking = async {
        loop {
            let ready = place.get("/readyz").await;
            if ready.status != 200 {
                return ready;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let ready = tokio::time::timeout(place::PATIENCE, asking).await.unwrap();
    assert_eq!((ready.status, ready.header("retry-after")), (503, "5"), "{ready:?}");
    assert_eq!(ready.problem().0, "not_ready");
    place.end().await;
}

#[tokio::test]
async fn an_ended_tasks_lock_is_text_that_can_be_submitted() {
    let place = place::start().await;
    let id = place.started("packages aaa==1.0 bbb==2.0+cpu").await;
    place.until(&id, "ended").await;
    let lock = place.get(&format!("/api/v1/tasks/{id}/lock")).await;
    assert_eq!(
        (lock.status, lock.header("content-type")),
        (200, "text/plain; charset=utf-8")
    );
    assert!(lock.text().contains("\naaa==1.0\nbbb==2.0+cpu\n"), "{}", lock.text());
    let again = json!({"pythonCode": "1", "requirementsFile": lock.text()});
    assert_eq!(place.submit(again.to_string()).await.status, 200);
    let page = place.get(&format!("/tasks/{id}")).await.text();
    assert!(page.contains(&format!("/api/v1/tasks/{id}/lock")), "{page}");
    let (saved, without) = (place.saved("print x").await, place.started("print x").await);
    place.until(&without, "ended").await;
    for (id, reported) in [(saved, "has not ended"), (without, "no Python packages are known")] {
        let lock = place.get(&format!("/api/v1/tasks/{id}/lock")).await;
        assert_eq!((lock.status, lock.problem().0.as_str()), (409, "conflict"));
        assert!(lock.text().contains(reported), "{}", lock.text());
    }
    assert_eq!(place.get("/api/v1/tasks/task-none/lock").await.status, 404);
    place.end().await;
}

#[tokio::test]
async fn constraints_are_part_of_a_task_and_their_faults_have_lines() {
    let place = place::start().await;
    let body = json!({"pythonCode": "print x", "dependencies": "numpy", "constraints": "numpy<3\n"});
    let id = place.submit(body.to_string()).await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(place.task(&id).await["request"]["constraints"], "numpy<3\n");
    let page = place.get(&format!("/tasks/{id}")).await.text();
    assert!(page.contains("Constraints") && page.contains("numpy&lt;3"), "{page}");
    let body = json!({"pythonCode": "print x", "requirementsFile": "a\n-c c.txt\n-r r.txt", "constraints": "b\n-e ."});
    let answer = place.submit(body.to_string()).await;
    assert_eq!((answer.status, answer.problem().0.as_str()), (422, "invalid_task"));
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    let places: Vec<_> = errors
        .iter()
        .map(|error| (error["pointer"].as_str().unwrap(), error["line"].as_u64()))
        .collect();
    assert_eq!(
        places,
        [
            ("/requirementsFile", Some(2)),
            ("/requirementsFile", Some(3)),
            ("/constraints", Some(2))
        ]
    );
    assert!(
        errors[0]["hint"].as_str().unwrap().contains("into `constraints`"),
        "{errors:?}"
    );
    place.end().await;
}

#[tokio::test]
async fn a_python_version_is_part_of_a_task() {
    let place = place::start().await;
    let body = json!({"pythonCode": "print x", "pythonVersion": ">=3.10"});
    let id = place.submit(body.to_string()).await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(place.task(&id).await["request"]["pythonVersion"], ">=3.10");
    let answer = place
        .submit(json!({"pythonCode": "print x", "pythonVersion": "python3"}).to_string())
        .await;
    assert_eq!((answer.status, answer.problem().0.as_str()), (422, "invalid_task"));
    assert_eq!(answer.json()["pointer"], "/pythonVersion");
    place.end().await;
}
