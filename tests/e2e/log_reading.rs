//! Reading the log back: filters, pages, all of it, objects, resuming, restarts.

use crate::support::{Answer, Platform, eventually};
use serde_json::{Value, json};

/// Makes lines: one for each word.
fn say(platform: &Platform, word: &str) {
    let answer = platform.api("PATCH", "/apps/shop/config-vars", Some(json!({ word: "1" })));
    assert_eq!(answer.status, 200, "{}", answer.text);
}

fn session(platform: &Platform, body: Value) -> Answer {
    platform.api("POST", "/apps/shop/log-sessions", Some(body))
}

fn stream(platform: &Platform, body: Value, headers: &[(&str, &str)]) -> Answer {
    let session = session(platform, body);
    assert_eq!(session.status, 201, "{}", session.text);
    let url = session.json()["logplex_url"].as_str().unwrap().to_string();
    platform.request("GET", &url[url.find("/streams").unwrap()..], headers, None)
}

fn objects(platform: &Platform, mut body: Value) -> Vec<Value> {
    body["format"] = json!("json");
    let answer = stream(platform, body, &[]);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn messages(platform: &Platform, body: Value) -> Vec<String> {
    objects(platform, body).iter().map(|line| line["message"].as_str().unwrap().to_string()).collect()
}

#[test]
fn lines_are_found_again_by_time_word_and_number_also_after_a_kill() {
    let mut platform = Platform::start();
    platform.create("shop");
    for n in 0..30 {
        say(&platform, &format!("WORD_{n}"));
    }
    for round in 0..2 {
        let all = objects(&platform, json!({ "all": true }));
        let numbers: Vec<u64> = all.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
        assert!(numbers.len() >= 31 && numbers.windows(2).all(|two| two[1] == two[0] + 1), "round {round}: {numbers:?}");
        assert_eq!((&all[5]["source"], &all[5]["ps"]), (&json!("app"), &json!("api")));
        assert!(all[20]["release"].is_null() || all[20]["release"].as_u64() > Some(0));
        let grep = |pattern: &str| messages(&platform, json!({ "grep": pattern }));
        let found = grep("^Set WORD_1[0-3] ");
        assert!(found.len() == 4 && found[0].starts_with("Set WORD_10 config vars"), "{found:?}");
        assert_eq!(grep("(?i)set word_7 config").len(), 1);
        assert_eq!(grep("nowhere").len(), 0);
        // Filters come before the count.
        let one = messages(&platform, json!({ "grep": "WORD_5 ", "lines": 1 }));
        assert!(one.len() == 1 && one[0].starts_with("Set WORD_5 "), "{one:?}");
        // Pages backwards until there are none.
        let (mut before, mut seen) = (Value::Null, Vec::new());
        loop {
            let page = objects(&platform, json!({ "lines": 7, "before": before }));
            let Some(first) = page.first() else { break };
            before = first["seq"].clone();
            seen.splice(0..0, page.iter().map(|line| line["seq"].as_u64().unwrap()));
        }
        assert_eq!(seen, numbers);
        let at = |n: usize| all[n]["time"].clone();
        let span = objects(&platform, json!({ "since": at(5), "until": at(9), "lines": 1500 }));
        assert!(span.first().unwrap()["seq"].as_u64().unwrap() >= all[4]["seq"].as_u64().unwrap(), "{span:?}");
        assert!(span.len() >= 5 && span.len() < 12, "{span:?}");
        if round == 0 {
            platform.signal("KILL");
            platform.wait_end();
            platform.boot();
        }
    }
}

#[test]
fn a_reader_comes_back_with_the_number_of_its_last_line() {
    let platform = Platform::start();
    platform.create("shop");
    for n in 0..5 {
        say(&platform, &format!("WORD_{n}"));
    }
    let events = [("accept", "text/event-stream")];
    let whole = stream(&platform, json!({ "lines": 100 }), &events).text;
    let ids: Vec<&str> = whole.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let third = ids[2];
    let rest = stream(&platform, json!({ "lines": 100 }), &[events[0], ("last-event-id", third)]).text;
    let again: Vec<&str> = rest.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert_eq!(again, &ids[3..]);
    let output = platform.cli(&["logs", "-a", "shop", "--grep", "WORD_[12] ", "--since", "1h", "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let words: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(words.len(), 2, "{text}");
    assert!(words[0]["time"].as_str().unwrap().ends_with("+00:00") && words[1]["message"].as_str().unwrap().contains("WORD_2"));
}

#[test]
fn what_can_not_be_searched_for_is_refused_with_the_reason() {
    let platform = Platform::start();
    platform.create("shop");
    for (body, part) in [
        (json!({ "grep": "(" }), "The pattern can not be used"),
        (json!({ "grep": "a{1000}{1000}{1000}" }), "The pattern can not be used"),
        (json!({ "grep": "x".repeat(2000) }), "longer than 1000 bytes"),
        (json!({ "since": "yesterday" }), "since is no time"),
        (json!({ "release": "new" }), "release is no release"),
        (json!({ "format": "xml" }), "format is text or json"),
    ] {
        let answer = session(&platform, body.clone());
        assert!(answer.status == 422 && answer.text.contains(part), "{body}: {} {}", answer.status, answer.text);
    }
    eventually("the server is well", || (session(&platform, json!({})).status == 201).then_some(()));
}
