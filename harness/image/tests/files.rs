//! Images in files: every form comes to the same tree, and what isn't an image is told from one that is broken.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::{Image, Layer, Place};
use image::{Error, Origin, Wanted};

fn two_layers() -> Image {
    let below = Layer::default()
        .directory("usr/")
        .directory("usr/bin/")
        .file("usr/bin/agent", "the agent")
        .mode("usr/bin/su", 0o6755)
        .mode("usr/bin/locked", 0o000)
        .symlink("bin", "usr/bin")
        .symlink("usr/bin/sh", "/usr/bin/agent")
        .file("etc/removed", "gone")
        .file("var/lib/old/a", "gone")
        .file("var/lib/old/b", "gone")
        .file("was-a-file", "file")
        .file("was-a-folder/x", "folder");
    let above = Layer::default()
        .file("./usr/bin/clang", "a compiler")
        .hard_link("usr/bin/clang-19", "usr/bin/clang")
        .file("bin/by-link", "written by way of a link")
        .file("etc/.wh.removed", "")
        .file("var/lib/old/new", "stays, though it stands before the mark")
        .file("var/lib/old/.wh..wh..opq", "")
        .directory("was-a-file/")
        .file("was-a-file/now", "a folder")
        .file("was-a-folder", "a file");
    Image::of([below, above])
}

#[track_caller]
fn assert_two_layers(root: &Path) {
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    for (name, content) in [
        ("usr/bin/agent", "the agent"),
        ("usr/bin/clang", "a compiler"),
        ("usr/bin/clang-19", "a compiler"),
        ("usr/bin/by-link", "written by way of a link"),
        ("usr/bin/sh", "the agent"),
        ("var/lib/old/new", "stays, though it stands before the mark"),
        ("was-a-file/now", "a folder"),
        ("was-a-folder", "a file"),
    ] {
        assert_eq!(read(name), content, "{name}");
    }
    for gone in ["etc/removed", "var/lib/old/a", "var/lib/old/b", "etc/.wh.removed", "var/lib/old/.wh..wh..opq"] {
        assert!(!root.join(gone).exists(), "{gone} was removed by the upper layer");
    }
    let mode = |name: &str| fs::metadata(root.join(name)).expect("it is there").permissions().mode() & 0o7777;
    assert_eq!(mode("usr/bin/su"), 0o755, "set-user-ID and set-group-ID are not taken over");
    assert_eq!(mode("usr/bin/locked"), 0o600, "its owner can read what was unpacked");
    assert_eq!(fs::read_link(root.join("usr/bin/sh")).expect("a link"), Path::new("../../usr/bin/agent"));
}

#[test]
fn every_form_comes_to_the_same_tree() {
    let image = two_layers();
    type Write = fn(&Image, &Path) -> PathBuf;
    let forms: [(&str, Write); 3] = [
        ("a layout in a folder", Image::layout),
        ("a layout in an archive", Image::layout_archive),
        ("what docker save writes", Image::docker_archive),
    ];
    for (name, write) in forms {
        let mut place = Place::new();
        let file = write(&image, place.path());
        let root = place.obtain(&Wanted::new(Origin::File(file))).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_two_layers(&root.dir);
    }
}

#[test]
fn a_tree_is_unpacked_once() {
    let mut place = Place::new();
    let image = two_layers();
    let first = place.unpack(&image).expect("it is unpacked");
    assert_eq!(first.digest, Some(image.digest()));
    let events = place.events.len();
    let second = place.unpack(&image).expect("it is there");
    assert_eq!((&second.dir, place.events.len()), (&first.dir, events), "the second time nothing is unpacked");
}

#[test]
fn a_tree_of_the_users_own_is_taken_as_it_is() {
    let mut place = Place::new();
    let wanted = Wanted::new(Origin::Tree(place.path().to_owned()));
    let root = place.obtain(&wanted).expect("it is there");
    assert_eq!((root.dir, root.digest), (place.path().canonicalize().expect("it is there"), None));
    let missing = Wanted::new(Origin::Tree(place.path().join("nothing")));
    assert!(matches!(place.obtain(&missing), Err(Error::NotAnImage { .. })));
}

#[test]
fn what_is_in_use_is_not_pruned() {
    let mut place = Place::new();
    let root = place.unpack(&two_layers()).expect("it is unpacked");
    let kept = place.cache.prune().expect("the cache can be pruned");
    assert_eq!((kept.removed.len(), kept.in_use.len()), (0, 1), "it is in use");
    assert!(root.dir.is_dir());
    let dir = root.dir.clone();
    drop(root);
    let pruned = place.cache.prune().expect("the cache can be pruned");
    assert_eq!((pruned.removed.len(), pruned.in_use.len()), (1, 0), "nobody uses it any more");
    assert!(!dir.exists() && place.cache.entries().expect("it can be read").is_empty());
}

#[test]
fn processes_that_want_the_same_share_the_work() {
    let place = Place::new();
    let file = two_layers().layout(place.path());
    let unpackings: usize = std::thread::scope(|scope| {
        let each = || {
            let mut unpacked = 0;
            let mut tell =
                |event: &image::Event| unpacked += usize::from(matches!(event, image::Event::Unpacking { .. }));
            let root = image::obtain(&Wanted::new(Origin::File(file.clone())), &place.cache, &mut tell);
            assert_two_layers(&root.expect("it is unpacked").dir);
            unpacked
        };
        let all: Vec<_> = (0..8).map(|_| scope.spawn(each)).collect();
        all.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert_eq!(unpackings, 2, "two layers, each unpacked once");
}

#[test]
fn what_a_killed_process_left_is_no_tree() {
    let mut place = Place::new();
    let image = two_layers();
    let hex = image.digest()["sha256:".len()..].to_owned();
    let left = place.cache.root().join("pulling").join(hex).join("image/root/usr");
    fs::create_dir_all(&left).expect("make a folder");
    fs::write(left.join("half"), "half").expect("write a file");
    let listed = place.cache.entries().expect("it can be read");
    assert!(matches!(listed.as_slice(), [entry] if !entry.is_whole), "it is listed as what it is: {listed:?}");
    let root = place.unpack(&image).expect("it is unpacked");
    assert!(!root.dir.join("usr/half").exists());
    assert_two_layers(&root.dir);
    assert!(place.cache.entries().expect("it can be read").iter().all(|entry| entry.is_whole));
}

/// What can't be removed ends a removal early, as a signal would.
#[test]
fn a_tree_that_is_half_removed_is_no_tree() {
    let mut place = Place::new();
    let image = two_layers();
    let root = place.unpack(&image).expect("it is unpacked").dir.clone();
    fs::set_permissions(root.join("usr/bin"), fs::Permissions::from_mode(0o500)).expect("it is ours");
    let pruned = place.cache.prune();
    // Root removes all the same.
    assert!(pruned.is_err() || nix::unistd::geteuid().is_root(), "{pruned:?}");
    let left = place.cache.entries().expect("it can be read");
    assert!(left.iter().all(|entry| !entry.is_whole), "half of it is still called whole: {left:?}");
    let hex = image.digest()["sha256:".len()..].to_owned();
    let gone = place.cache.root().join("pulling").join(hex).join("gone/root");
    if pruned.is_err() {
        fs::set_permissions(gone.join("usr/bin"), fs::Permissions::from_mode(0o700)).expect("it is ours");
    } else {
        fs::create_dir_all(gone.join("usr/bin")).expect("as if it had been killed at it");
    }
    assert_two_layers(&place.unpack(&image).expect("it is unpacked anew").dir);
    let whole = place.cache.entries().expect("it can be read");
    assert!(matches!(whole.as_slice(), [entry] if entry.is_whole), "and what was left of it is gone: {whole:?}");
}

#[test]
fn another_machines_image_is_refused() {
    let mut place = Place::new();
    let image = Image::with([Layer::default().file("a", "a")], "s390x");
    let error = place.unpack(&image).expect_err("it is for another machine");
    assert!(matches!(&error, Error::Platform { found, .. } if found == "linux/s390x"), "{error}");
    place.assert_empty();
}

#[test]
fn a_changed_byte_is_found() {
    for (part, blob) in [("layer", 0), ("configuration", 1), ("manifest", 2)] {
        let mut place = Place::new();
        let image = two_layers();
        let digest =
            [image.layer_digest(1), image::Digest::of(&image.config).to_string(), image.digest()][blob].clone();
        let file = image.layout(place.path()).join("blobs/sha256").join(&digest["sha256:".len()..]);
        let mut bytes = fs::read(&file).expect("read a blob");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x20;
        fs::write(&file, bytes).expect("write a blob");
        let wanted = Wanted::new(Origin::File(place.path().join("layout")));
        let error = place.obtain(&wanted).expect_err("it is not what its digest says");
        assert!(matches!(error, Error::Corrupt { .. }), "{part}: {error}");
        place.assert_empty();
    }
}

#[test]
fn what_is_cut_short_is_found() {
    let image = two_layers();
    let mut place = Place::new();
    let layout = image.layout(place.path());
    let file = layout.join("blobs/sha256").join(&image.layer_digest(0)["sha256:".len()..]);
    let bytes = fs::read(&file).expect("read a blob");
    for length in [0, 1, 20, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&file, &bytes[..length]).expect("write a blob");
        let error = place.obtain(&Wanted::new(Origin::File(layout.clone()))).expect_err("a part is missing");
        assert!(matches!(error, Error::Corrupt { .. }), "{length} bytes: {error}");
    }
    let place = Place::new();
    let archive = image.layout_archive(place.path());
    let bytes = fs::read(&archive).expect("read the archive");
    for length in [0, 100, 512, bytes.len() / 3, bytes.len() / 2] {
        fs::write(&archive, &bytes[..length]).expect("write the archive");
        let wanted = Wanted::new(Origin::File(archive.clone()));
        let error = image::obtain(&wanted, &place.cache, &mut |_| {}).expect_err("a part is missing");
        assert!(matches!(error, Error::Corrupt { .. } | Error::NotAnImage { .. }), "{length} bytes: {error}");
    }
}

#[test]
fn what_is_no_image_is_said_to_be_none() {
    let place = Place::new();
    let cases: [(&str, &[u8]); 3] =
        [("empty", b""), ("text", b"hello, this is no image at all"), ("gzip", &[0x1f, 0x8b, 8])];
    for (name, content) in cases {
        let file = place.path().join(name);
        fs::write(&file, content).expect("write a file");
        let error = image::obtain(&Wanted::new(Origin::File(file)), &place.cache, &mut |_| {}).expect_err(name);
        assert!(matches!(error, Error::NotAnImage { .. }), "{name}: {error}");
    }
}

#[test]
fn names_are_told_from_files() {
    let origin = |text: &str| text.parse::<Origin>();
    assert!(matches!(origin("quay.io/cilium/cilium:v1.18.2"), Ok(Origin::Registry(_))));
    assert!(matches!(origin("./here"), Ok(Origin::File(_))));
    assert!(matches!(origin("image.tar"), Ok(Origin::File(_))));
    assert!(matches!(origin("NOT an image"), Err(Error::Name { .. })));
}
