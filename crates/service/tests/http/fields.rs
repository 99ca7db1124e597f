//! The optional fields of a task: what comes back of them, what never does, and lists by label.

use serde_json::{Value, json};

use super::place::{self, Place};

const PERSON: (&str, &str) = ("accept", "text/html,application/xhtml+xml");

async fn submitted(place: &Place, task: &Value) -> String {
    let answer = place.submit(task.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// True if any file of the service holds these bytes.
fn is_on_disk(place: &Place, words: &[u8]) -> bool {
    let mut folders = vec![place.folder().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read(path)
                .unwrap()
                .windows(words.len())
                .any(|bytes| bytes == words)
            {
                return true;
            }
        }
    }
    false
}

#[tokio::test]
async fn a_task_gets_all_fields_and_its_secrets_are_never_shown() {
    const HUSH: &str = "hush-4f1c";
    let place = place::start().await;
    let task = json!({
        "pythonCode": "print x", "timeoutSeconds": 30, "env": {"OPEN": "<b>"}, "secretEnv": {"TOKEN": HUSH},
        "stdin": "typed\n", "args": ["-v", "<i>"], "labels": {"team": "blue", "example.org/run": "7"},
        "resources": {"cpu": "500m", "memory": "64Mi"},
    });
    let id = submitted(&place, &task).await;
    let path = format!("/api/v1/tasks/{id}");
    for text in texts(&place, &id).await {
        assert!(!text.contains(HUSH), "{text}");
    }
    assert!(
        is_on_disk(&place, HUSH.as_bytes()),
        "it is needed until the task starts"
    );
    place.post(&format!("{path}/run")).await;
    place.until(&id, "ended").await;
    let got = place.driver.specs.lock().unwrap()[0].clone();
    assert_eq!(got.secret_env.iter().collect::<Vec<_>>(), [("TOKEN", HUSH)]);
    assert_eq!(
        (got.args.len(), got.stdin.as_str(), got.timeout_seconds),
        (2, "typed\n", Some(30))
    );
    let read = place.get(&path).await.json();
    let mut expected = task.clone();
    expected["secretEnv"]["TOKEN"] = Value::Null;
    expected["useCache"] = json!(true);
    assert_eq!(read["request"], expected);
    assert_eq!(read["labels"], task["labels"]);
    for text in texts(&place, &id).await {
        assert!(!text.contains(HUSH), "{text}");
    }
    let page = place.send("GET", &format!("/tasks/{id}"), &[PERSON], "").await.text();
    for words in [
        "OPEN=&lt;b&gt;",
        "&lt;i&gt;",
        "TOKEN",
        "typed",
        "30 s",
        "cpu 500m, memory 64Mi",
        "/?label=team%3Dblue",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    // Sending back what was read is refused, rather than run with nothing in the place of the secret.
    let again = place.submit(read["request"].to_string()).await;
    assert_eq!(
        again.problem(),
        ("invalid_task".to_owned(), Some("/secretEnv".to_owned()))
    );
    assert!(again.json()["detail"].as_str().unwrap().contains("`TOKEN`"));
    let deleted = place.send("DELETE", &path, &[], "").await;
    assert_eq!(deleted.status, 204);
    place.engine.shutdown(std::time::Duration::from_secs(1)).await;
    assert!(
        !is_on_disk(&place, HUSH.as_bytes()),
        "a service that has ended left it on the disk"
    );
    place.end().await;
}

/// Everything in which a task may be shown.
async fn texts(place: &Place, id: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for path in [
        format!("/api/v1/tasks/{id}"),
        "/api/v1/tasks".to_owned(),
        format!("/api/v1/tasks/{id}/logs"),
    ] {
        texts.push(place.get(&path).await.text());
    }
    for path in [format!("/tasks/{id}"), "/".to_owned()] {
        texts.push(place.send("GET", &path, &[PERSON], "").await.text());
    }
    texts.push(place.get("/metrics").await.text());
    texts
}

#[tokio::test]
async fn wrong_fields_are_named_all_at_once_without_their_secrets() {
    let place = place::start_with(|config| config.limits.time_ms = 60_000, |_| {}).await;
    let task = json!({
        "pythonCode": "1", "timeoutSeconds": 61, "env": {"PATH": "x"}, "secretEnv": {"TOKEN=hush": "", "A": "hush\u{0}"},
        "args": ["\u{0}"], "labels": {"a b": ""}, "dependencies": "--pre", "resources": {"memory": "64MB"},
    });
    let answer = place.submit(task.to_string()).await;
    let json = answer.json();
    let places: Vec<_> = json["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    for pointer in [
        "/dependencies",
        "/args",
        "/env",
        "/secretEnv",
        "/labels",
        "/timeoutSeconds",
        "/resources/memory",
    ] {
        assert!(places.contains(&pointer), "{pointer}: {json}");
    }
    assert!(!answer.text().contains("hush"), "{json}");
    let at_limit = json!({"pythonCode": "print x", "timeoutSeconds": 60});
    assert_eq!(place.submit(at_limit.to_string()).await.status, 200);
    for (field, value, pointer) in [
        ("timeoutSeconds", json!("60"), "/timeoutSeconds"),
        ("timeoutSeconds", json!(1.5), "/timeoutSeconds"),
        ("env", json!({"A": 1}), "/env/A"),
        ("secretEnv", json!(["hush"]), "/secretEnv"),
        ("args", json!("-v"), "/args"),
        ("labels", json!({"a/b": null}), "/labels/a~1b"),
        ("resources", json!({"cpu": 2}), "/resources/cpu"),
        ("resources", json!({"gpu": "1"}), "/resources/gpu"),
    ] {
        let answer = place.submit(json!({"pythonCode": "1", field: value}).to_string()).await;
        assert_eq!(answer.problem(), ("invalid_task".to_owned(), Some(pointer.to_owned())));
        assert!(!answer.text().contains("hush"), "{answer:?}");
    }
    place.end().await;
}

#[tokio::test]
async fn tasks_are_listed_by_label_page_by_page() {
    let place = place::start().await;
    let mut blue = Vec::new();
    for number in 0..12 {
        let team = ["blue", "red"][number % 2];
        let labels = json!({"team": team, "run": (number % 3).to_string()});
        let id = submitted(&place, &json!({"pythonCode": "print x", "labels": labels})).await;
        if team == "blue" {
            blue.push(id);
        }
    }
    place.saved("print y").await;
    blue.reverse();
    let listed = async |query: &str| -> (Vec<String>, Option<String>) {
        let page = place.get(&format!("/api/v1/tasks?{query}")).await.json();
        let ids = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["id"].as_str().unwrap().to_owned());
        (ids.collect(), page["next"].as_str().map(str::to_owned))
    };
    let (mut seen, mut query) = (Vec::new(), "label=team=blue&limit=4".to_owned());
    loop {
        let (ids, next) = listed(&query).await;
        seen.extend(ids);
        let Some(next) = next else { break };
        query = format!("label=team=blue&limit=4&cursor={next}");
    }
    assert_eq!(seen, blue);
    assert_eq!(
        listed("label=team=blue&label=run=0").await.0,
        [blue[2].clone(), blue[5].clone()]
    );
    assert_eq!(listed("label=team=blue&label=team=red").await.0, [] as [String; 0]);
    place.post(&format!("/api/v1/tasks/{}/cancel", blue[1])).await;
    assert_eq!(listed("label=team=blue&state=cancelled").await.0, [blue[1].clone()]);
    assert_eq!(listed("label=team=blue&end=cancelled").await.0, [blue[1].clone()]);
    assert_eq!(listed("label=team=blue&state=saved").await.0.len(), 5);
    place
        .send("DELETE", &format!("/api/v1/tasks/{}", blue[0]), &[], "")
        .await;
    assert_eq!(listed("label=team=blue").await.0, blue[1..]);
    assert_eq!(
        place
            .get("/api/v1/tasks?limit=1&label=run=0&label=team=red")
            .await
            .json()["items"][0]["labels"]["team"],
        "red"
    );
    for bad in ["label=team", "label=a%20b=c", &"label=a=b&".repeat(9)] {
        assert_eq!(
            place.get(&format!("/api/v1/tasks?{bad}")).await.json()["parameter"],
            "label"
        );
    }
    let home = place.send("GET", "/?label=team%3Dblue", &[PERSON], "").await.text();
    assert!(
        home.contains(&blue[2]) && home.contains("show all") && home.contains("state=ended&amp;label=team%3Dblue"),
        "{home}"
    );
    place.end().await;
}

#[tokio::test]
async fn a_form_with_all_fields_is_submitted_and_a_refused_one_drops_the_secret() {
    let place = place::start().await;
    let own = format!("http://{}", place.address);
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        PERSON,
        ("origin", own.as_str()),
    ];
    let form = "pythonCode=print+x&timeoutSeconds=5&args=-v%0D%0Aa+b&stdin=typed&env=A%3D1&secretEnv=TOKEN%3Dhush&labels=team%3Dblue&then=save";
    let sent = place.send("POST", "/tasks", &headers, form).await;
    assert_eq!(sent.status, 303, "{sent:?}");
    let id = sent.header("location").strip_prefix("/tasks/").unwrap().to_owned();
    let request = place.task(&id).await["request"].clone();
    assert_eq!(
        request,
        json!({"pythonCode": "print x", "useCache": false, "timeoutSeconds": 5, "args": ["-v", "a b"], "stdin": "typed",
               "env": {"A": "1"}, "secretEnv": {"TOKEN": null}, "labels": {"team": "blue"}})
    );
    for form in [form.replace("env=A%3D1", "env=A"), form.replace("args=-v", "args=%00")] {
        let refused = place.send("POST", "/tasks", &headers, form).await;
        assert_eq!(refused.status, 422);
        let page = refused.text();
        assert!(
            page.contains("team=blue") && page.contains("Type the secret variables again"),
            "{page}"
        );
        assert!(page.contains("aria-invalid") && !page.contains("hush"), "{page}");
    }
    place.end().await;
}
