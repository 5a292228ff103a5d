//! `underlay cache` as a user meets it: what is fetched is listed and pruned, what can't be had is said with a remedy.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use image::Digest;
use serde_json::json;

fn underlay(cache: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_underlay"));
    command.arg("cache").args(arguments).env("UNDERLAY_CACHE", cache).env("NO_COLOR", "1");
    command.output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An OCI layout of an image without layers.
fn layout(folder: &Path, architecture: &str) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("make a folder");
    let put = |value: serde_json::Value| {
        let bytes = value.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        fs::write(blobs.join(digest.hex()), &bytes).expect("write a blob");
        json!({ "mediaType": "application/json", "digest": digest.to_string(), "size": bytes.len() })
    };
    let config = json!({
        "architecture": architecture, "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] },
    });
    let manifest = json!({ "schemaVersion": 2, "config": put(config), "layers": [] });
    let index = json!({ "schemaVersion": 2, "manifests": [put(manifest)] });
    fs::write(folder.join("index.json"), index.to_string()).expect("write the index");
}

fn here() -> &'static str {
    if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" }
}

#[test]
fn what_was_fetched_is_listed_and_pruned() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cache, image) = (folder.path().join("cache"), folder.path().join("image"));
    layout(&image, here());
    let empty = underlay(&cache, &["ls"]);
    assert!(empty.status.success() && text(&empty.stdout).starts_with("0 B in "), "{empty:?}");
    let pulled = underlay(&cache, &["pull", &image.display().to_string()]);
    assert!(pulled.status.success(), "{pulled:?}");
    let tree = text(&pulled.stdout);
    assert!(Path::new(tree.trim()).is_dir(), "the tree's folder is printed: {tree}");
    let listed = text(&underlay(&cache, &["ls"]).stdout);
    assert!(listed.contains(&image.display().to_string()), "{listed}");
    let pruned = underlay(&cache, &["prune"]);
    assert!(text(&pruned.stdout).starts_with("removed "), "{pruned:?}");
    assert!(!Path::new(tree.trim()).exists());
}

#[test]
fn what_cannot_be_had_is_said_with_a_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let foreign = folder.path().join("foreign");
    layout(&foreign, "s390x");
    let foreign = foreign.display().to_string();
    for (image, code, words) in [
        ("127.0.0.1:1/nobody/there:v1", 3, "can't be reached"),
        ("./no-such.tar", 2, "No such file"),
        ("NOT an image", 2, "neither a file or folder"),
        (foreign.as_str(), 2, "linux/s390x"),
    ] {
        let output = underlay(folder.path(), &["pull", image]);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{image}: {err}");
        assert!(err.contains(words) && err.contains("\n  help: "), "{image}: {err}");
    }
}

#[test]
fn an_engine_that_cannot_have_its_image_says_so_before_anything_is_built() {
    let folder = tempfile::tempdir().expect("a folder");
    for (flag, image, code, words) in [
        ("--cilium-image", "127.0.0.1:1/nobody/there:v1", 3, "can't be reached"),
        ("--etcd-image", "./no-such.tar", 2, "No such file"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_underlay"));
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).env("UNDERLAY_CACHE", folder.path());
        command.args(["test", "scenarios/devices/node-ip-overlay.yaml", "--engine", "agent", flag, image]);
        let output = command.output().expect("it runs");
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{flag}: {err}");
        assert!(err.contains(words) && err.contains("\n  help: "), "{flag}: {err}");
    }
}

#[test]
fn official_images_that_cannot_be_had_skip_what_needs_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_underlay"));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).env("UNDERLAY_CACHE", folder.path());
    // Nobody is there, so that no registry is asked.
    command.env("HTTPS_PROXY", "http://127.0.0.1:1").env_remove("UNDERLAY_CILIUM_ROOT").env_remove("NO_PROXY");
    command.args(["test", "scenarios/devices/node-ip-overlay.yaml::unset", "--engine", "agent", "--cilium", "1.18.2"]);
    let output = command.output().expect("it runs");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(3), "all is skipped: {out}{err}");
    let asked = "quay.io/cilium/cilium:v1.18.2";
    assert!(err.contains(asked), "it is said what is asked for: {err}");
    assert!(out.contains("--cilium-root DIR") || out.contains("no "), "the remedy, or what else the host lacks: {out}");
}
