use super::*;
use proptest::prelude::*;

const NOW: UnixMs = UnixMs(1_800_000_000_000);

fn facts(starts_at: UnixMs, expires_at: UnixMs) -> CertFacts {
    CertFacts {
        chain: String::new(),
        names: vec!["a.example.com".into()],
        issuer: String::new(),
        subject: String::new(),
        starts_at,
        expires_at,
        self_signed: false,
    }
}

fn issued(from: UnixMs, days: u64) -> Issued {
    let facts = facts(from, from.plus_ms(days * DAY_MS));
    Issued { key: Uuid::nil(), renew_at: renew_at(&facts, 0), facts, directory: "d".into() }
}

fn trouble(cause: Cause) -> Happened {
    Happened::Trouble(Trouble { cause, reason: "because".into(), not_before: None, order_is_over: true })
}

fn happened() -> impl Strategy<Value = Happened> {
    let order = Order { key: Uuid::nil(), url: "u".into(), directory: "d".into(), begun_at: NOW, proof: None };
    let proof = Proof { method: Method::Http01, token: "t".into(), authorization: "a".into() };
    prop_oneof![
        Just(Happened::Wanted(None)),
        Just(Happened::Left),
        Just(Happened::Asked),
        Just(Happened::Begun),
        Just(Happened::DnsRight),
        Just(Happened::Ordered(order)),
        Just(Happened::Shown(proof)),
        Just(Happened::Proven),
        (1u64..100).prop_map(|days| Happened::Installed(issued(NOW, days))),
        (0u64..100).prop_map(|days| Happened::RenewAt(NOW.plus_ms(days * DAY_MS))),
        prop_oneof![Just(Cause::Dns), Just(Cause::Authority), Just(Cause::Limit), Just(Cause::Hopeless)].prop_map(trouble),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_words_are_known_and_a_good_certificate_stays(
        all in prop::collection::vec((happened(), 0u64..3 * DAY_MS, any::<u64>()), 1..40),
    ) {
        let rules = Rules::default();
        let (mut row, mut now) = (Managed::new("a.example.com".into(), None, NOW), NOW);
        for (what, pause, dice) in all {
            now = now.plus_ms(pause);
            let before = row.clone();
            row.take(what.clone(), now, &rules, dice);
            let known = ["pending", "in-progress", "dns-verified", "verified", "cert issued", "failing", "failed"];
            let (word, reason) = row.shown(now);
            prop_assert!(known.contains(&word));
            prop_assert_eq!(reason.is_some() && word == "cert issued", false, "no reason once it is fine");
            prop_assert!(!matches!(word, "failing" | "failed") || reason.is_some(), "failing says why");
            // Only a newer certificate takes the place of one.
            let replaced = matches!(what, Happened::Installed(_) | Happened::RenewAt(_));
            prop_assert!(replaced || row.issued == before.issued);
            // Nothing that failed is tried again at once: no storm.
            prop_assert!(!matches!(what, Happened::Trouble(_)) || row.next_at > now);
            // Names that nobody wants do nothing.
            prop_assert!(row.left_at.is_none() || (!row.is_due(now) && row.order.is_none() || !matches!(what, Happened::Left)));
            // Twice the same look ends in the same place.
            let mut twice = row.clone();
            if !matches!(what, Happened::Trouble(_)) {
                twice.take(what, now, &rules, dice);
                prop_assert_eq!(twice, row.clone());
            }
        }
    }

    #[test]
    fn renewal_is_inside_of_the_life_and_well_before_its_end(days in 1u64..400, dice in any::<u64>()) {
        let facts = facts(NOW, NOW.plus_ms(days * DAY_MS));
        let at = renew_at(&facts, dice).since_ms(NOW);
        for from in [UnixMs(0), NOW.plus_ms(days * DAY_MS / 3), NOW.plus_ms(2 * days * DAY_MS)] {
            let within = renew_within(&facts, (from, from.plus_ms(DAY_MS)), dice);
            prop_assert!(within > NOW && within < facts.expires_at);
        }
        prop_assert!(at >= days * DAY_MS * 63 / 100 && at <= days * DAY_MS * 70 / 100, "{} of {}", at, days * DAY_MS);
    }

    #[test]
    fn the_guard_never_lets_more_pass_than_its_limits(gaps in prop::collection::vec(0u64..3 * HOUR_MS, 1..200)) {
        let limits = Limits { orders: 5, per_domain: 7, same_name: 3, rejections: 2 };
        let (mut now, mut ledger) = (NOW, Vec::<Entry>::new());
        for (at, gap) in gaps.into_iter().enumerate() {
            now = now.plus_ms(gap);
            let name = format!("h{}.example.com", at % 4);
            match guard(&ledger, ("d", &name, false), now, &limits) {
                Some((until, _)) => prop_assert!(until > now, "a wait ends later"),
                None => {
                    let what = [Noted::Order, Noted::Certificate, Noted::Rejection];
                    ledger.extend(what.map(|what| Entry { at: now, what, name: name.clone(), directory: "d".into() }));
                }
            }
            let within = |what: Noted, time: u64| {
                ledger.iter().filter(|e| e.what == what && now.since_ms(e.at) < time).cloned().collect::<Vec<_>>()
            };
            prop_assert!(within(Noted::Order, 3 * HOUR_MS).len() <= limits.orders);
            prop_assert!(within(Noted::Certificate, 7 * DAY_MS).len() <= limits.per_domain);
            prop_assert!(within(Noted::Rejection, HOUR_MS).iter().filter(|e| e.name == name).count() <= limits.rejections);
        }
    }
}

#[test]
fn the_good_way_and_its_words() {
    let (rules, mut row) = (Rules::default(), Managed::new("a.example.com".into(), None, NOW));
    assert_eq!((row.shown(NOW).0, row.step(NOW).word()), ("pending", "checking"));
    let order = Order { key: Uuid::nil(), url: "u".into(), directory: "d".into(), begun_at: NOW, proof: None };
    let way = [
        (Happened::Begun, "in-progress", "checking"),
        (trouble(Cause::Dns), "failing", "waiting for DNS"),
        (Happened::Begun, "in-progress", "checking"),
        (Happened::DnsRight, "dns-verified", "issuing"),
        (Happened::Ordered(order), "dns-verified", "issuing"),
        (Happened::Proven, "verified", "issuing"),
        (Happened::Installed(issued(NOW, 90)), "cert issued", "ready"),
    ];
    for (happened, word, step) in way {
        row.take(happened.clone(), NOW, &rules, 0);
        assert_eq!((row.shown(NOW).0, row.step(NOW).word()), (word, step), "{happened:?}");
    }
    // A renewal that fails is hidden while the old one is good for long, and told when it is not.
    let later = NOW.plus_ms(61 * DAY_MS);
    row.take(trouble(Cause::Authority), later, &rules, 0);
    assert_eq!(row.shown(later), ("cert issued", None));
    assert_eq!(row.shown(NOW.plus_ms(80 * DAY_MS)), ("failing", Some("because")));
    assert!(row.serves().is_some(), "and it answers on");
}

#[test]
fn failures_back_off_give_up_and_start_anew_when_asked() {
    let (rules, mut row, mut now) = (Rules::default(), Managed::new("a.example.com".into(), None, NOW), NOW);
    let mut pauses = Vec::new();
    while row.next_at < NEVER {
        row.take(trouble(Cause::Authority), now, &rules, 0);
        pauses.push(row.next_at.since_ms(now) / MINUTE_MS);
        now = row.next_at;
        assert!(pauses.len() < 100);
    }
    assert_eq!(pauses[..4], [1, 10, 60, 60]);
    assert_eq!(pauses.iter().filter(|p| **p == 24 * 60).count(), 7, "silent tries of a week: {pauses:?}");
    assert_eq!(row.shown(NOW), ("failed", Some("because")));
    row.take(Happened::Asked, NOW, &rules, 0);
    assert_eq!((row.shown(NOW), row.is_due(NOW)), (("pending", None), true));
    let parked = Trouble { cause: Cause::Limit, reason: "full".into(), not_before: Some(NOW.plus_ms(9)), order_is_over: false };
    row.take(Happened::Trouble(parked), NOW, &rules, 0);
    assert!(row.failures == 0 && row.next_at >= NOW.plus_ms(9));
}

#[test]
fn what_left_keeps_its_certificate_for_a_while_and_serves_nobody() {
    let (rules, mut row) = (Rules::default(), Managed::new("a.example.com".into(), None, NOW));
    row.take(Happened::Installed(issued(NOW, 90)), NOW, &rules, 0);
    row.take(Happened::Left, NOW, &rules, 0);
    assert!(row.serves().is_none() && !row.is_due(NEVER) && !row.is_over(NOW));
    let mut back = row.clone();
    back.take(Happened::Wanted(None), NOW.plus_ms(DAY_MS), &rules, 0);
    assert!(back.serves().is_some() && back.shown(NOW).0 == "cert issued" && !back.is_due(NOW.plus_ms(DAY_MS)));
    assert!(row.is_over(NOW.plus_ms(31 * DAY_MS)));
}

#[test]
fn dns_is_judged_in_plain_words() {
    let ip = |text: &str| text.parse().unwrap();
    let ours = [ip("192.0.2.1"), ip("2001:db8::1")];
    assert_eq!(leads_here(&[ip("192.0.2.1")], &ours), Ok(()));
    assert_eq!(leads_here(&ours, &ours), Ok(()));
    let said = |found: &[std::net::IpAddr]| leads_here(found, &ours).unwrap_err();
    assert!(said(&[]).contains("no address"));
    assert!(said(&[ip("192.0.2.9")]).contains("leads to 192.0.2.9, not to this server (192.0.2.1"));
    assert!(said(&[ip("192.0.2.1"), ip("2001:db8::9")]).contains("stray AAAA"));
    assert!(said(&[ip("192.0.2.1"), ip("192.0.2.9")]).contains("also leads to 192.0.2.9"));
    for internal in ["a.local", "*.corp.internal", "localhost", "127.0.0.1", "10.0.0.1", "a.test"] {
        assert!(!may_be_public(internal), "{internal}");
    }
    assert!(may_be_public("a.example.com") && may_be_public("1.1.1.1"));
}

#[test]
fn caa_is_judged_like_an_authority_does() {
    let caa = |tag: &str, value: &str| Caa { critical: false, tag: tag.into(), value: value.into() };
    let ours = ["ca.example".to_string()];
    let http = ["http-01"];
    let allows = |records: &[Caa], wildcard: bool| caa_allows(records, &ours, wildcard, &http);
    assert_eq!(allows(&[], false), Ok(()));
    assert_eq!(allows(&[caa("issue", "ca.example"), caa("issue", "other.example")], false), Ok(()));
    assert_eq!(allows(&[caa("issue", "CA.example; validationmethods=dns-01,http-01")], false), Ok(()));
    assert_eq!(allows(&[caa("iodef", "mailto:a@b")], false), Ok(()));
    assert!(allows(&[caa("issue", ";")], false).unwrap_err().contains("CAA forbids"));
    assert!(caa_allows(&[caa("issue", ";")], &[], false, &http).unwrap_err().contains("allows nobody"));
    assert_eq!(caa_allows(&[caa("issue", "other.example")], &[], false, &http), Ok(()), "it decides by itself");
    assert!(allows(&[caa("issue", "other.example")], false).unwrap_err().contains("other.example"));
    assert!(allows(&[caa("issue", "ca.example; validationmethods=dns-01")], false).unwrap_err().contains("other ways"));
    assert!(allows(&[caa("issue", "ca.example"), caa("issuewild", ";")], true).is_err());
    assert!(allows(&[Caa { critical: true, tag: "future".into(), value: String::new() }], false).is_err());
}

#[test]
fn registered_domains_are_guessed() {
    for (name, expected) in [
        ("a.b.example.com", "example.com"),
        ("*.example.com", "example.com"),
        ("example.com", "example.com"),
        ("a.example.co.uk", "example.co.uk"),
        ("192.0.2.1", "192.0.2.1"),
        ("localhost", "localhost"),
    ] {
        assert_eq!(registered(name), expected);
    }
}
