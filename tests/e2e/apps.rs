//! Real apps with their dependencies from the package registries, by `git push`.

use crate::support::{Platform, Repo, eventually, fixtures, root_or_skip};
use serde_json::json;
use std::process::Command;

#[test]
fn flask_with_gunicorn_and_a_second_push_from_the_cache() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let platform = Platform::start();
    platform.create("flask-app");
    platform.api("PATCH", "/apps/flask-app/config-vars", Some(json!({ "GREETING": "good tide" })));
    let repo = Repo::of("flask");
    let text = repo.deploy(&platform, "flask-app");
    assert!(text.contains("Python app detected") && text.contains("Procfile declares types     -> web"), "{text}");
    assert!(platform.web("flask-app", "/").text.contains("good tide"));
    repo.commit("again");
    let text = repo.deploy(&platform, "flask-app");
    assert!(text.to_lowercase().contains("cached") || text.contains("already satisfied"), "{text}");
    assert!(platform.web("flask-app", "/").text.contains("good tide"));
}

#[test]
fn django_with_collectstatic() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let platform = Platform::start();
    platform.create("django-app");
    let text = Repo::of("django").deploy(&platform, "django-app");
    assert!(text.contains("collectstatic"), "{text}");
    assert_eq!(platform.web("django-app", "/").status, 200);
}

#[test]
fn express_with_a_lock_file_and_web_sockets() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let platform = Platform::start();
    platform.create("express-app");
    let repo = Repo::of("express");
    let text = repo.deploy(&platform, "express-app");
    assert!(text.contains("Node.js app detected"), "{text}");
    assert_eq!(platform.web("express-app", "/").status, 200);
    crate::routing::web_socket_echo(&platform, "express-app", "/ws");
    repo.commit("again");
    let text = repo.deploy(&platform, "express-app");
    assert!(text.to_lowercase().contains("cache"), "{text}");
}

#[test]
fn a_static_site() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let platform = Platform::start();
    platform.create("static-site");
    let text = Repo::of("static").deploy(&platform, "static-site");
    assert!(text.contains("Static app detected"), "{text}");
    let page = platform.web("static-site", "/");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html"));
    assert_eq!(platform.web("static-site", "/no-such-page").status, 404);
    assert_eq!(platform.web("static-site", "/static.json").status, 404);
    assert_eq!(platform.web("static-site", "/../../etc/passwd").status, 404);
}

#[test]
fn a_procfile_app_with_a_vendored_program_scales_restarts_and_rolls_back() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let platform = Platform::start();
    platform.create("shop");
    assert_eq!(platform.web("shop", "/").status, 502, "H81 before the first push");
    let repo = Repo::of("procfile");
    let text = repo.deploy(&platform, "shop");
    assert!(text.contains("Released v3") && text.contains("Procfile declares types     -> web, worker"), "{text}");
    assert!(platform.web("shop", "/").text.contains("hello"));
    platform.api("PATCH", "/apps/shop/config-vars", Some(json!({ "GREETING": "v4 speaks" })));
    eventually("the new config serves", || platform.web("shop", "/").text.contains("v4 speaks").then_some(()));
    let scaled = platform.api(
        "PATCH",
        "/apps/shop/formation",
        Some(json!({ "updates": [{ "type": "web", "quantity": 2 }, { "type": "worker", "quantity": "+1" }] })),
    );
    assert_eq!(scaled.status, 200, "{}", scaled.text);
    let up = |n: usize| {
        let dynos = platform.api("GET", "/apps/shop/dynos", None).json();
        let up: Vec<String> = dynos
            .as_array()
            .unwrap()
            .iter()
            .filter(|d| d["state"] == "up")
            .map(|d| d["name"].as_str().unwrap().into())
            .collect();
        (up.len() == n).then_some(up)
    };
    assert_eq!(eventually("three dynos", || up(3)), ["web.1", "web.2", "worker.1"]);
    let before = platform.api("GET", "/apps/shop/dynos/web.1", None).json()["id"].clone();
    assert_eq!(platform.api("DELETE", "/apps/shop/dynos/web.1", None).status, 202);
    eventually("web.1 is another one", || {
        let now = platform.api("GET", "/apps/shop/dynos/web.1", None).json();
        (now["id"] != before && now["state"] == "up").then_some(())
    });
    let back = platform.api("POST", "/apps/shop/releases", Some(json!({ "release": "v3" })));
    assert_eq!((back.status, back.json()["version"].as_u64()), (201, Some(5)), "{}", back.text);
    eventually("the old config serves", || platform.web("shop", "/").text.contains("hello").then_some(()));
    let log = platform.log("shop");
    for line in [
        "heroku[web.1]: State changed from starting to up",
        "heroku[web.1]: Stopping all processes with SIGTERM",
        "heroku[web.1]: Starting process with command `./bin/server`",
        "app[api]: Release v3 created by user admin@localhost",
        "app[api]: Set GREETING config vars by user admin@localhost",
        "heroku[router]: at=info method=GET path=\"/\" host=shop.localhost",
    ] {
        assert!(log.contains(line), "{line:?} is missing in\n{log}");
    }
    assert!(!log.contains("v4 speaks"), "no config value in the log");
}

#[test]
fn a_third_party_buildpack_by_git_url_before_python() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let platform = Platform::start();
    let pack = Repo::of("inline-pack");
    platform.create("chained");
    let url = format!("file://{}", pack.dir.path().display());
    let set = json!({ "updates": [{ "buildpack": url }, { "buildpack": "heroku/python" }] });
    assert_eq!(platform.api("PUT", "/apps/chained/buildpack-installations", Some(set)).status, 200);
    let repo = Repo::of("flask");
    repo.write("app.py", "import os\nfrom flask import Flask\napp = Flask(__name__)\n@app.route('/')\ndef index():\n    return 'pack=' + os.environ.get('INLINE_PACK', '')\n");
    repo.commit("shows the pack");
    let text = repo.deploy(&platform, "chained");
    assert!(text.contains("Using buildpacks:") && text.contains("2. heroku/python"), "{text}");
    assert_eq!(platform.web("chained", "/").text, "pack=yes");
    assert!(fixtures().join("inline-pack/bin/compile").exists());
}

#[test]
fn a_broken_build_and_a_broken_boot_leave_the_old_release_serving() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let platform = Platform::start();
    platform.create("shop");
    let repo = Repo::of("procfile");
    repo.deploy(&platform, "shop");
    let good = repo.git(&["rev-parse", "HEAD"]);

    repo.write("package.json", r#"{"name":"x","version":"1.0.0","scripts":{"build":"echo this-build-is-broken; exit 3"}}"#);
    repo.commit("broken build");
    let (ok, text) = repo.push(&platform, "shop", "main");
    assert!(!ok && text.contains("this-build-is-broken"), "{text}");
    for part in ["Push rejected, failed to compile Node.js app.", "Push failed", "pre-receive hook declined"] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(platform.web("shop", "/").text.contains("hello"));
    assert_eq!(repo.git(&["ls-remote", &platform.git_url("shop"), "refs/heads/main"]).split('\t').next(), Some(good.as_str()));

    platform.api("PATCH", "/apps/shop/formation/worker", Some(json!({ "quantity": 1 })));
    let worker = || platform.api("GET", "/apps/shop/dynos/worker.1", None).text.contains("\"up\"");
    eventually("the worker", || worker().then_some(()));
    repo.git(&["reset", "--quiet", "--hard", &good]);
    repo.write("Procfile", "web: echo cannot start; exit 1\n");
    repo.commit("broken boot");
    let (ok, text) = repo.push(&platform, "shop", "main");
    assert!(!ok, "{text}");
    for part in ["v4 did not start. v3 is still serving", "cannot start", "pre-receive hook declined"] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(platform.web("shop", "/").text.contains("hello"));
    let releases = platform.api("GET", "/apps/shop/releases", None).json();
    let by_version = |v: usize| releases[v - 1].clone();
    assert_eq!((by_version(4)["status"].as_str(), by_version(3)["current"].as_bool()), (Some("failed"), Some(true)));

    assert!(worker(), "a type that the failed release did not have is as it was");

    repo.git(&["reset", "--quiet", "--hard", &good]);
    repo.commit("good again");
    assert!(repo.deploy(&platform, "shop").contains("Released v5"));
}

#[test]
fn a_build_through_the_api_with_an_uploaded_source() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let platform = Platform::start();
    platform.create("shop");
    let tar = platform.dir.path().join("source.tgz");
    let packed = Command::new("tar").arg("-czf").arg(&tar).arg("-C").arg(fixtures()).arg("procfile").status().unwrap();
    assert!(packed.success());
    let source = platform.api("POST", "/sources", None).json();
    let path = |url: &str| url[url.find("/sources").unwrap()..].to_string();
    let put = path(source["source_blob"]["put_url"].as_str().unwrap());
    let uploaded =
        Command::new("curl").args(["-sf", "-T"]).arg(&tar).arg(format!("{}{put}", platform.base())).status().unwrap();
    assert!(uploaded.success());
    let body = json!({ "source_blob": { "url": source["source_blob"]["get_url"], "version": "abc1234" } });
    let build = platform.api("POST", "/apps/shop/builds", Some(body));
    assert_eq!((build.status, build.json()["status"].as_str()), (201, Some("pending")), "{}", build.text);
    let stream = build.json()["output_stream_url"].as_str().unwrap().to_string();
    let output = platform.request("GET", &stream[stream.find("/streams").unwrap()..], &[], None).text;
    assert!(output.contains("Verifying deploy... done."), "{output}");
    let build = platform.api("GET", &format!("/apps/shop/builds/{}", build.json()["id"].as_str().unwrap()), None).json();
    assert_eq!(build["status"], "succeeded");
    let slug = platform.api("GET", &format!("/apps/shop/slugs/{}", build["slug"]["id"].as_str().unwrap()), None).json();
    assert_eq!(slug["process_types"]["web"], "./bin/server");
    let blob = slug["blob"]["url"].as_str().unwrap();
    assert_eq!(platform.request("GET", &blob[blob.find("/streams").unwrap()..], &[], None).status, 200);
    assert!(platform.web("shop", "/").text.contains("hello"));
    let wrong =
        json!({ "source_blob": { "url": source["source_blob"]["get_url"], "checksum": format!("SHA256:{}", "0".repeat(64)) } });
    let build = platform.api("POST", "/apps/shop/builds", Some(wrong)).json();
    let stream = build["output_stream_url"].as_str().unwrap();
    let output = platform.request("GET", &stream[stream.find("/streams").unwrap()..], &[], None).text;
    assert!(output.contains("source_checksum"), "{output}");
}

#[test]
fn the_build_cage_keeps_secrets_and_neighbours_out_of_reach() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let platform = Platform::start();
    platform.create("curious");
    platform.api("PATCH", "/apps/curious/config-vars", Some(json!({ "MULTI": "a\nb", "EMPTY": "", "EQ": "x=y" })));
    let repo = Repo::of("procfile");
    let data = platform.dir.path().display().to_string();
    let compile = format!(
        "#!/usr/bin/env bash\nset -u\necho \"env=$(env | cut -d= -f1 | sort | tr '\\n' ' ')\"\n[ -e {data} ] && echo REACHED-data\n\
         ls /root /home/* 2>/dev/null | grep . && echo REACHED-home\nfind / -xdev -name '*.sock' 2>/dev/null | grep . && echo REACHED-socket\n\
         printf 'multi=%s\\n' \"$(od -An -c \"$3/MULTI\" | tr -d ' \\n')\"\necho \"empty=$(wc -c < \"$3/EMPTY\") eq=$(cat \"$3/EQ\")\"\n\
         id -u\ncat /proc/*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -q 'serve [-]-data-dir' && echo REACHED-daemon\n\
         for host in 127.0.0.1 localhost 10.0.2.2; do curl -s -m 3 http://$host:{port}/ && echo REACHED-$host; done\n\
         echo \"build=$1 source=$SOURCE_VERSION stack=$STACK home=$HOME\"\nexit 0\n",
        port = platform.port
    );
    let pack = Repo::empty();
    pack.write("bin/detect", "#!/bin/sh\necho Curious\n")
        .write("bin/compile", &compile)
        .write("bin/release", "#!/bin/sh\necho '--- {}'\n");
    pack.commit("pack");
    let set = json!({ "updates": [{ "buildpack": format!("file://{}", pack.dir.path().display()) }] });
    platform.api("PUT", "/apps/curious/buildpack-installations", Some(set));
    let commit = repo.git(&["rev-parse", "HEAD"]);
    let text = repo.deploy(&platform, "curious");
    assert!(!text.contains("REACHED"), "{text}");
    assert!(text.contains("env=HOME PATH PWD REQUEST_ID SHLVL SOURCE_VERSION STACK _"), "{text}");
    assert!(text.contains("multi=a\\nb") && text.contains("empty=0 eq=x=y"), "{text}");
    assert!(
        text.contains(&format!("source={commit} stack=heroku-24 home=/app")) && text.contains("build=/tmp/build_"),
        "{text}"
    );
}

#[test]
fn code_and_config_can_not_name_a_folder_of_the_server_as_buildpack() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let platform = Platform::start();
    let pack = Repo::empty();
    pack.write("bin/detect", "#!/bin/sh\necho Inside\n").write("bin/compile", "#!/bin/bash\necho READ-FROM-SERVER\nexit 0\n");
    pack.commit("pack");
    let folder = pack.dir.path().display().to_string();
    for (app, spec) in [("plain", folder.clone()), ("url", format!("file://{folder}"))] {
        platform.create(app);
        let repo = Repo::of("procfile");
        repo.write(".buildpacks", &format!("{spec}\n"));
        repo.commit("asks for a folder");
        assert!(!repo.deploy(&platform, app).contains("READ-FROM-SERVER"), "by .buildpacks");
        platform.api("PATCH", &format!("/apps/{app}/config-vars"), Some(json!({ "BUILDPACK_URL": spec })));
        repo.write("more", "x");
        repo.commit("again");
        assert!(!repo.deploy(&platform, app).contains("READ-FROM-SERVER"), "by BUILDPACK_URL");
    }
}

#[test]
fn profile_scripts_config_and_the_environment_of_a_dyno() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = Platform::start();
    platform.create("env");
    platform.api("PATCH", "/apps/env/config-vars", Some(json!({ "A": "from-config", "PORT": "1", "DYNO": "fake" })));
    let repo = Repo::of("procfile");
    repo.write(".profile.d/10_b.sh", "export ORDER=\"${ORDER:-}b\"; export A=${A:-default}; set -- lost\n");
    repo.write(".profile.d/05_a.sh", "export ORDER=\"${ORDER:-}a\"\n");
    repo.write(".profile", "export ORDER=\"${ORDER}p\"\n");
    repo.write("Procfile", "web: env | sort | sed 's/^/ENV /' && echo \"quote's $A\" && ./bin/server\n");
    repo.commit("env");
    repo.deploy(&platform, "env");
    let log = platform.wait_log("env", "ENV PORT=");
    for line in ["ENV ORDER=abp", "ENV A=from-config", "ENV DYNO=web.1", "ENV HOME=/app", "quote's from-config"] {
        assert!(log.contains(line), "{line:?} is missing in\n{log}");
    }
    assert!(!log.contains("ENV PORT=1\n") && !log.contains("SECRET_OF_THE_DAEMON"), "{log}");
}

#[test]
fn a_build_that_swaps_its_folder_for_a_link_gets_nothing_of_the_server() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let platform = Platform::start();
    platform.create("thief");
    let keys = platform.dir.path().join("data/keys");
    let compile = format!(
        "#!/bin/bash\nmv \"$1\" /tmp/gone && echo MOVED\nrm -rf \"$1\" 2>/dev/null; ln -sfn {keys} \"$1\" && echo LINKED\n\
         mv \"$2\" /tmp/cache; ln -sfn {keys} \"$2\"; ln -s {keys} /tmp/build_x\necho 'web: sleep 1' > \"$1/Procfile\"\nexit 0\n",
        keys = keys.display()
    );
    let pack = Repo::empty();
    pack.write("bin/detect", "#!/bin/sh\necho Thief\n").write("bin/compile", &compile);
    pack.commit("pack");
    let set = json!({ "updates": [{ "buildpack": format!("file://{}", pack.dir.path().display()) }] });
    platform.api("PUT", "/apps/thief/buildpack-installations", Some(set));
    let repo = Repo::empty();
    repo.write("a", "b");
    repo.commit("x");
    let (_, text) = repo.push(&platform, "thief", "main");
    assert!(!text.contains("MOVED"), "{text}");
    let files = Command::new("find").arg(platform.dir.path().join("data")).args(["-name", "*.tgz"]).output().unwrap();
    for slug in String::from_utf8_lossy(&files.stdout).lines() {
        let listed = Command::new("tar").args(["-tzf", slug]).output().unwrap();
        assert!(!String::from_utf8_lossy(&listed.stdout).contains("master.key"), "{text}");
    }
    let copies = Command::new("find").arg(platform.dir.path().join("data")).args(["-name", "master.key"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&copies.stdout).lines().count(), 1, "the key is in one place");
}
