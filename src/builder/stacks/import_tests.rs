use super::*;
use ring::digest::digest;
use std::os::unix::fs::MetadataExt;

fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o4755);
        header.set_uid(u64::from(fs::metadata("/proc/self").expect("proc").uid()));
        header.set_gid(u64::from(fs::metadata("/proc/self").expect("proc").gid()));
        if let Some(target) = text.strip_prefix("-> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, path, target).expect("link");
        } else {
            // The builder refuses bad paths; an attacker does not.
            header.as_gnu_mut().expect("gnu").name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            tar.append(&header, text.as_bytes()).expect("append");
        }
    }
    tar.into_inner().expect("tar")
}

fn hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn a_tar_becomes_a_stack_and_a_second_import_leaves_the_first_alone() {
    let dir = tempfile::tempdir().expect("dir");
    let stacks = Stacks::new(dir.path().join("stacks"));
    let file = dir.path().join("a.tar");
    fs::write(&file, tar_of(&[("usr/bin/bash", "#!"), ("bin", "-> usr/bin"), ("etc/x", "1")])).expect("write");
    let first = stacks.import("debian-12", &file).expect("imported");
    let root = stacks.root("debian-12").expect("there");
    assert_eq!(fs::read_to_string(root.join("etc/x")).expect("x"), "1");
    assert_eq!(fs::metadata(root.join("usr/bin/bash")).expect("bash").mode() & 0o7777, 0o4755);
    assert!(root.join("proc").is_dir() && root.join("app").is_dir());
    fs::write(&file, tar_of(&[("bin/bash", "#!"), ("etc/x", "2")])).expect("write");
    assert_ne!(stacks.import("debian-12", &file).expect("imported").id, first.id);
    assert_eq!(fs::read_to_string(root.join("etc/x")).expect("still there"), "1");
    let second = stacks.root("debian-12").expect("there");
    assert_eq!(fs::read_to_string(second.join("etc/x")).expect("x"), "2");
    assert_eq!(stacks.names(), ["debian-12"]);
}

#[test]
fn layers_of_a_layout_are_laid_over_each_other() {
    let dir = tempfile::tempdir().expect("dir");
    let (layout, stacks) = (dir.path().join("layout"), Stacks::new(dir.path().join("stacks")));
    fs::create_dir_all(layout.join("blobs/sha256")).expect("dir");
    let put = |bytes: &[u8]| {
        fs::write(layout.join("blobs/sha256").join(hex(bytes)), bytes).expect("blob");
        format!("sha256:{}", hex(bytes))
    };
    let below = put(&tar_of(&[("bin/bash", "#!"), ("a/one", "1"), ("b/two", "2"), ("c/three", "3")]));
    let above = put(&tar_of(&[("a/.wh.one", ""), ("b/.wh..wh..opq", ""), ("b/new", "n"), ("c", "now a file")]));
    let layers = serde_json::json!({ "layers": [{ "digest": below }, { "digest": above }] }).to_string();
    let manifest = put(layers.as_bytes());
    let other = serde_json::json!({ "digest": "sha256:00", "platform": { "architecture": "none", "os": "linux" } });
    let index = serde_json::json!({ "manifests": [other, { "digest": manifest }] }).to_string();
    fs::write(layout.join("index.json"), index).expect("index");
    let imported = stacks.import("from-oci", &layout).expect("imported");
    assert_eq!(format!("sha256:{}", imported.id), manifest);
    let root = stacks.root("from-oci").expect("there");
    assert!(!root.join("a/one").exists() && !root.join("b/two").exists() && root.join("b/new").exists());
    assert_eq!(fs::read_to_string(root.join("c")).expect("c"), "now a file");
    // As a tar, too; and a damaged blob is told.
    let mut tar = tar::Builder::new(Vec::new());
    fs::write(layout.join("oci-layout"), "{}").expect("file");
    tar.append_dir_all(".", &layout).expect("tar");
    fs::write(dir.path().join("layout.tar"), tar.into_inner().expect("tar")).expect("file");
    assert_eq!(stacks.import("from-tar", &dir.path().join("layout.tar")).expect("imported").id, imported.id);
    fs::write(layout.join("blobs/sha256").join(below.trim_start_matches("sha256:")), "x").expect("damage");
    assert!(stacks.import("damaged", &layout).is_err_and(|e| e.to_string().contains("is damaged")));
    assert_eq!(stacks.root("damaged"), None);
}

#[test]
fn nothing_leads_out_and_what_can_not_run_is_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let stacks = Stacks::new(dir.path().join("stacks"));
    let file = dir.path().join("a.tar");
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).expect("dir");
    let target = format!("-> {}", outside.display());
    for files in [
        vec![("bin/bash", "#!"), ("door", target.as_str()), ("door/file", "x")],
        vec![("bin/bash", "#!"), ("../../../outside/file", "x")],
        vec![("bin/bash", "#!"), ("door", target.as_str()), ("door/.wh.keep", "")],
    ] {
        fs::write(outside.join("keep"), "").expect("keep");
        fs::write(&file, tar_of(&files)).expect("write");
        let _ = stacks.import("evil", &file); // refused or left out
        assert!(!outside.join("file").exists() && outside.join("keep").exists(), "{files:?}");
    }
    fs::write(&file, tar_of(&[("etc/x", "1")])).expect("write");
    assert!(matches!(stacks.import("empty", &file), Err(StackError::Incomplete(_))));
    for place in ["etc", "var", "app", "sys", "dev"] {
        fs::write(&file, tar_of(&[("bin/bash", "#!"), (place, target.as_str())])).expect("write");
        assert!(stacks.import("linked", &file).is_err(), "the holder would write through /{place}");
    }
    for name in ["bin/.wh.", "bin/.wh..", "bin/.wh..."] {
        fs::write(&file, tar_of(&[("bin/a", "x"), (name, ""), ("bin/bash", "#!")])).expect("write");
        let refused = stacks.import("empty", &file).expect_err(name).to_string();
        assert!(refused.contains("takes away nothing"), "{name}: {refused}");
    }
    assert!(matches!(stacks.import("../up", &file), Err(StackError::Name(_))));
    fs::write(&file, b"no tar at all, but long enough to be one ".repeat(100)).expect("write");
    assert!(stacks.import("nonsense", &file).is_err());
    assert_eq!(fs::read_dir(dir.path().join("stacks/empty")).expect("dir").count(), 0, "nothing is left");
}

#[test]
fn a_hard_link_takes_the_place_of_a_file() {
    let dir = tempfile::tempdir().expect("dir");
    let stacks = Stacks::new(dir.path().join("stacks"));
    let mut bytes = tar_of(&[("bin/bash", "#!"), ("bin/a", "new"), ("bin/b", "old")]);
    bytes.truncate(bytes.len() - 1024); // the end of the archive
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Link);
    header.set_size(0);
    let mut more = tar::Builder::new(Vec::new());
    more.append_link(&mut header, "bin/b", "bin/a").expect("link");
    more.append_link(&mut header, "bin/a", "bin/a").expect("link to itself");
    bytes.extend(more.into_inner().expect("tar"));
    let file = dir.path().join("a.tar");
    fs::write(&file, bytes).expect("write");
    stacks.import("linked", &file).expect("imported");
    let root = stacks.root("linked").expect("there");
    assert_eq!(fs::read_to_string(root.join("bin/b")).expect("b"), "new");
    assert_eq!(fs::read_to_string(root.join("bin/a")).expect("a"), "new");
}
