//! Images that want out of their tree, or want more than their share.

mod common;

use std::fs;
use std::path::Path;

use common::{Image, Layer, Place};
use image::{Error, Limits, Origin, Wanted};
use tar::EntryType;

/// Names that lead out of the tree refuse the image.
#[test]
fn no_entry_leads_out() {
    for name in ["../escaped", "a/../../escaped", "/escaped", "usr/../../../escaped", ".."] {
        for (kind, layer) in [
            ("file", Layer::default().file(name, "out")),
            ("directory", Layer::default().directory(name)),
            ("link", Layer::default().symlink(name, "x")),
            ("hard link", Layer::default().file("x", "x").hard_link(name, "x")),
            ("hard link's target", Layer::default().hard_link("x", name)),
        ] {
            let mut place = Place::new();
            let error = place.unpack(&Image::of([layer])).expect_err("it leads out");
            assert!(matches!(error, Error::Hostile { .. }), "{kind} {name}: {error}");
            place.assert_empty();
        }
    }
}

/// Links that lead out are written so that they don't, and what is written by way of them stays inside.
#[test]
fn no_link_leads_out() {
    for target in ["/", "/etc", "../../../../../../../..", "../../../../etc", "a/b/../../../../../etc"] {
        let mut place = Place::new();
        let below = Layer::default().directory("sub/").symlink("sub/out", target).symlink("chain", "sub/out");
        let above = Layer::default().file("sub/out/escaped-by-link", "in").file("chain/escaped-by-chain", "in");
        match place.unpack(&Image::of([below, above])) {
            Ok(root) => {
                let link = fs::canonicalize(root.dir.join("sub/out")).expect("it leads to a directory that was made");
                assert!(link.starts_with(&root.dir), "{target} leads to {}", link.display());
                assert!(link.join("escaped-by-link").is_file() && link.join("escaped-by-chain").is_file());
            }
            // A link to nothing can't be written through.
            Err(error) => assert!(matches!(error, Error::Hostile { .. }), "{target}: {error}"),
        }
        assert!(!Path::new("/escaped-by-link").exists() && !Path::new("/etc/escaped-by-link").exists());
    }
}

/// A link that goes up by way of another link: inside by its words, outside by its way.
#[test]
fn no_chain_of_links_leads_out() {
    let mut place = Place::new();
    let layer = Layer::default().directory("a/b/").symlink("a/b/up", "../..").symlink("a/b/out", "up/../cache/locks");
    let root = place.unpack(&Image::of([layer])).expect("it is unpacked");
    let link = root.dir.join("a/b/out");
    assert_eq!(fs::read_link(&link).expect("a link"), Path::new("cache/locks"));
    assert!(!link.exists(), "it leads to nothing");
}

#[test]
fn hard_links_are_to_files_of_the_tree() {
    for (name, layer) in [
        ("a link", Layer::default().symlink("link", "/etc/passwd").hard_link("hard", "link")),
        ("a directory", Layer::default().directory("d/").hard_link("hard", "d")),
        ("nothing", Layer::default().hard_link("hard", "nothing")),
        ("no target", Layer::default().hard_link("hard", "")),
    ] {
        let mut place = Place::new();
        let error = place.unpack(&Image::of([layer])).expect_err(name);
        assert!(matches!(error, Error::Hostile { .. }), "a hard link to {name}: {error}");
        place.assert_empty();
    }
}

#[test]
fn whiteouts_stay_inside() {
    for name in [".wh...", "sub/.wh...", "../.wh.cache"] {
        let mut place = Place::new();
        let layer = Layer::default().directory("sub/").file(name, "");
        let error = place.unpack(&Image::of([layer])).expect_err("it leads out");
        assert!(matches!(error, Error::Hostile { .. }), "{name}: {error}");
        assert!(place.cache.root().is_dir());
    }
    let mut place = Place::new();
    fs::write(place.path().join("layout-beside"), "stays").expect("write a file");
    let below = Layer::default().directory("sub/").symlink("sub/out", "/../../../../../..");
    let above = Layer::default().file("sub/out/.wh..wh..opq", "").file(".wh.nothing", "").file("x/.wh.nothing", "");
    place.unpack(&Image::of([below, above])).expect("it is unpacked");
    assert!(place.path().join("layout-beside").exists() && place.path().join("layout").exists());
}

/// A folder like that of `docker save`, unpacked, says itself which files are its layers.
#[test]
fn no_layer_of_a_folder_leads_out() {
    let image = Image::of([Layer::default().file("a", "a")]);
    let place = Place::new();
    let folder = place.path().join("saved");
    fs::create_dir(&folder).expect("make a folder");
    let outside = place.path().join("outside.tar");
    for path in [folder.join("layer.tar"), outside.clone()] {
        fs::write(path, &image.archives[0]).expect("write a file");
    }
    fs::write(folder.join("config.json"), &image.config).expect("write a file");
    nix::unistd::mkfifo(&folder.join("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("make a pipe");
    let obtain = |layer: &str| {
        let manifest = serde_json::json!([{ "Config": "config.json", "Layers": [layer] }]);
        fs::write(folder.join("manifest.json"), manifest.to_string()).expect("write a file");
        image::obtain(&Wanted::new(Origin::File(folder.clone())), &place.cache, &mut |_| {})
    };
    let outside = outside.display().to_string();
    for layer in [outside.as_str(), "../outside.tar", "../saved/layer.tar", "pipe", "."] {
        let error = obtain(layer).expect_err("it is no layer");
        assert!(matches!(error, Error::Corrupt { .. }), "{layer}: {error}");
    }
    obtain("layer.tar").expect("it is a layer");
}

#[test]
fn devices_and_pipes_are_left_out() {
    let mut place = Place::new();
    let mut layer = Layer::default().file("there", "");
    for (kind, name) in [(EntryType::Char, "null"), (EntryType::Block, "disk"), (EntryType::Fifo, "pipe")] {
        layer = layer.entry(kind, name, "", 0o666, b"");
    }
    let root = place.unpack(&Image::of([layer])).expect("it is unpacked");
    let names: Vec<_> =
        fs::read_dir(&root.dir).expect("list it").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(names, ["there"]);
}

fn limited(image: &Image, limits: Limits) -> Error {
    let mut place = Place::new();
    let wanted = Wanted { limits, ..Wanted::new(Origin::File(image.layout(place.path()))) };
    let error = place.obtain(&wanted).expect_err("it is more than the limits allow");
    place.assert_empty();
    error
}

#[test]
fn nothing_grows_beyond_its_limit() {
    let zeros = "\0".repeat(1 << 20);
    let bomb = (0..16).fold(Layer::default(), |layer, number| layer.file(&format!("{number}"), &zeros));
    let image = Image::of([bomb]);
    let transferred = image.blobs.values().map(Vec::len).sum::<usize>();
    assert!(transferred < 1 << 20, "16 MiB are sent as {transferred} bytes");
    let limits = Limits { unpacked: 4 << 20, ..Limits::default() };
    assert!(matches!(limited(&image, limits), Error::TooMuch { .. }));

    let names = (0..1000).fold(Layer::default(), |layer, number| layer.file(&format!("d/{number}"), ""));
    assert!(matches!(
        limited(&Image::of([names]), Limits { entries: 999, ..Limits::default() }),
        Error::TooMuch { .. }
    ));

    let many = Image::of((0..9).map(|number| Layer::default().file(&format!("{number}"), "")));
    assert!(matches!(limited(&many, Limits { layers: 8, ..Limits::default() }), Error::TooMuch { .. }));
}

/// What is made into no file is read all the same.
#[test]
fn what_goes_nowhere_is_bounded_too() {
    let zeros = vec![0; 8 << 20];
    for kind in [EntryType::Char, EntryType::XGlobalHeader, EntryType::Symlink] {
        let image = Image::of([Layer::default().entry(kind, "a", "b", 0o644, &zeros).file("c", "")]);
        let error = limited(&image, Limits { unpacked: 4 << 20, entries: 10, ..Limits::default() });
        assert!(matches!(error, Error::TooMuch { .. }), "{kind:?}: {error}");
    }
    // Of all layers together.
    let image = Image::of((0..4).map(|number| {
        let name = format!("{number}");
        Layer::default().entry(EntryType::Char, &name, "", 0o644, &zeros[..2 << 20])
    }));
    let error = limited(&image, Limits { unpacked: 6 << 20, entries: 10, ..Limits::default() });
    assert!(matches!(error, Error::TooMuch { .. }), "{error}");
    // What follows the archive's end.
    let mut archive = Layer::default().file("a", "").archive();
    archive.extend(&zeros);
    let image = Image::of_archives(vec![archive], common::here());
    let error = limited(&image, Limits { unpacked: 4 << 20, entries: 10, ..Limits::default() });
    assert!(matches!(error, Error::TooMuch { .. }), "{error}");
    // As it is transferred: a few KiB of zeros.
    let image = Image::of([Layer::default().entry(EntryType::Char, "a", "", 0o644, &zeros)]);
    let error = limited(&image, Limits { layer: 1 << 10, ..Limits::default() });
    assert!(matches!(error, Error::TooMuch { .. }), "{error}");
}

/// Who removes a tree holds a descriptor for each directory on the way down.
#[test]
fn trees_are_only_so_deep() {
    let deep = |levels: usize| "d/".repeat(levels);
    let mut place = Place::new();
    let layer = Layer::default().directory(&deep(128)).file(&(deep(128) + "f"), "deep");
    let root = place.unpack(&Image::of([layer])).expect("so deep is allowed");
    assert!(root.dir.join(deep(128)).join("f").is_file());
    for (name, layer) in [
        ("a directory", Layer::default().directory(&deep(129))),
        ("a file", Layer::default().file(&(deep(129) + "f"), "")),
        (
            "by way of a link",
            Layer::default()
                .symlink("l", &deep(100))
                .directory(&deep(100))
                .directory("l/d/")
                .file(&format!("l/{}f", deep(60)), ""),
        ),
    ] {
        let mut place = Place::new();
        let error = place.unpack(&Image::of([layer])).expect_err(name);
        assert!(matches!(error, Error::Hostile { .. }), "{name}: {error}");
        place.assert_empty();
    }
}

#[test]
fn headers_are_bounded_too() {
    let long = "n".repeat(5000);
    let mut place = Place::new();
    let error = place.unpack(&Image::of([Layer::default().file(&long, "")])).expect_err("the name is too long");
    assert!(matches!(error, Error::Hostile { .. }), "{error}");

    let huge = vec![b'n'; 2 << 20];
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let layer = Layer::default().entry(kind, "././@LongLink", "", 0, &huge).file("a", "");
        let error = Place::new().unpack(&Image::of([layer])).expect_err("the header is too large");
        assert!(matches!(error, Error::TooMuch { .. }), "{kind:?}: {error}");
    }

    let name = format!("{}/{}", "d".repeat(200), "n".repeat(200));
    let mut place = Place::new();
    let root = place.unpack(&Image::of([Layer::default().file(&name, "long")])).expect("a name may be long");
    assert_eq!(fs::read_to_string(root.dir.join(name)).expect("it is there"), "long");
}

/// Whatever stands in an archive: an error or a tree, no panic, nothing outside.
#[test]
fn no_archive_panics() {
    let good = Layer::default().file("a/b", "content").symlink("a/l", "../x").hard_link("h", "a/b").archive();
    let mut place = Place::new();
    for at in (0..2048).step_by(31) {
        let mut bytes = good.clone();
        bytes[at] = bytes[at].wrapping_add(0x55);
        // Checksums are mended, so that more than the first header's is read.
        for header in [0, 1024, 1536] {
            bytes[header + 148..header + 156].fill(b' ');
            let sum: u32 = bytes[header..header + 512].iter().map(|byte| u32::from(*byte)).sum();
            bytes[header + 148..header + 155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
        let _ = place.unpack(&Image::of_archives(vec![bytes], common::here()));
        fs::remove_dir_all(place.path().join("layout")).expect("remove the layout");
        assert_eq!(
            fs::read_dir(place.path()).expect("list the folder").count(),
            1,
            "byte {at}: only the cache is there"
        );
    }
}
