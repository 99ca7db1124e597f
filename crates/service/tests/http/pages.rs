//! The pages for people, as a browser without scripts sees them.

use super::place::{self, Place};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const PERSON: (&str, &str) = ("accept", "text/html,application/xhtml+xml");

async fn fill(place: &Place, form: &str) -> place::Answer {
    let own = format!("http://{}", place.address);
    place
        .send("POST", "/tasks", &[FORM, PERSON, ("origin", &own)], form)
        .await
}

#[tokio::test]
async fn a_task_is_submitted_run_and_watched_without_a_script() {
    let place = place::start().await;
    let sent = fill(
        &place,
        "key=task-form1&pythonCode=print+%3Cb%3Ehi%3C%2Fb%3E%0D%0Aerr+oh&dependencies=numpy&useCache=true&then=run",
    )
    .await;
    assert_eq!(sent.status, 303, "{sent:?}");
    let path = sent.header("location").to_owned();
    let id = path.strip_prefix("/tasks/").unwrap().to_owned();
    // Sent twice, by a second click or by going back: one task.
    let again = fill(
        &place,
        "key=task-form1&pythonCode=print+%3Cb%3Ehi%3C%2Fb%3E%0D%0Aerr+oh&dependencies=numpy&useCache=true&then=run",
    )
    .await;
    assert_eq!(again.header("location"), path);
    place.until(&id, "ended").await;
    let page = place.send("GET", &path, &[PERSON], "").await.text();
    assert!(
        page.contains("&lt;b&gt;hi&lt;/b&gt;") && !page.contains("<b>hi"),
        "{page}"
    );
    assert!(page.contains("succeeded") && page.contains("user code") && page.contains("class=\"stderr\""));
    assert!(!page.contains("http-equiv"), "nothing more will change");
    let home = place.send("GET", "/", &[PERSON], "").await.text();
    assert!(home.contains(&id) && home.contains("name=\"pythonCode\""));
    place.end().await;
}

#[tokio::test]
async fn a_refused_form_keeps_the_typed_text() {
    let place = place::start().await;
    let sent = fill(
        &place,
        "pythonCode=print+1&dependencies=--index-url%3Dx&systemDependencies=gcc&then=run",
    )
    .await;
    assert_eq!(sent.status, 422);
    let page = sent.text();
    assert!(
        page.contains("value=\"--index-url=x\"")
            && page.contains("print 1</textarea>")
            && page.contains("value=\"gcc\"")
    );
    assert_eq!(page.matches("aria-invalid=\"true\"").count(), 1);
    assert!(page.contains("<details class=\"card\" id=\"new\" open"));
    assert!(!page.contains("checked"), "the box that was not ticked stays so");
    place.end().await;
}

#[tokio::test]
async fn buttons_run_cancel_and_delete() {
    let place = place::start().await;
    let sent = fill(&place, "pythonCode=print+x%0Ahold&then=save").await;
    let path = sent.header("location").to_owned();
    let id = path.strip_prefix("/tasks/").unwrap().to_owned();
    assert_eq!(place.task(&id).await["state"], "saved");
    let press = async |button: &str| place.send("POST", &format!("{path}/{button}"), &[PERSON], "").await;
    assert_eq!(press("run").await.header("location"), path);
    place.until(&id, "running").await;
    let page = place.get(&path).await.text();
    assert!(page.contains("data-follow=\"/api/v1/tasks/") && page.contains("http-equiv=\"refresh\""));
    assert_eq!(press("cancel").await.status, 303);
    place.until(&id, "cancelled").await;
    let refused = press("run").await;
    assert_eq!(
        (refused.status, refused.header("content-type")),
        (409, "text/html; charset=utf-8")
    );
    assert!(refused.text().contains("<h1>"));
    assert_eq!(press("delete").await.header("location"), "/");
    let gone = place.send("GET", &path, &[PERSON], "").await;
    assert_eq!(gone.status, 404);
    assert!(gone.text().contains("There is no such task"));
    place.end().await;
}

#[tokio::test]
async fn the_list_is_paged_and_filtered_and_its_files_are_cached() {
    let place = place::start().await;
    for number in 0..30 {
        place.saved(&format!("print {number}")).await;
    }
    let first = place.get("/").await.text();
    let next = first
        .split("href=\"/?cursor=")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let second = place.get(&format!("/?cursor={next}")).await.text();
    assert_eq!(
        (
            first.matches("class=\"id\"").count(),
            second.matches("class=\"id\"").count()
        ),
        (25, 5)
    );
    assert!(place.get("/?state=running").await.text().contains("No tasks here."));
    assert_eq!(place.send("GET", "/?state=asleep", &[PERSON], "").await.status, 400);
    for part in ["/assets/style-", "/assets/live-"] {
        let path = first.split('"').find(|text| text.starts_with(part)).unwrap();
        let asset = place.get(path).await;
        assert_eq!(asset.status, 200);
        assert!(asset.header("cache-control").contains("immutable"));
    }
    place.end().await;
}
