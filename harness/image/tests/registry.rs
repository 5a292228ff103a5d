//! Images from a registry: one of the test's own, on a real socket, in a namespace of its own.

mod common;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::get;
use common::{Image, Layer, Place};
use futures::{StreamExt, stream};
use image::{Error, Event, Origin, Wanted};
use lab::{Namespace, Sysctls};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let missing = lab::sandbox::enter().err();
    if let (Some(missing), false) = (&missing, arguments.list) {
        eprintln!("all is ignored: {missing}");
    }
    let tests: [(&str, fn()); 9] = [
        ("an_image_is_pulled_once", an_image_is_pulled_once),
        ("a_name_needs_no_registry_once_it_is_known", a_name_needs_no_registry_once_it_is_known),
        ("a_cut_transfer_goes_on_where_it_ended", a_cut_transfer_goes_on_where_it_ended),
        ("a_later_attempt_goes_on_too", a_later_attempt_goes_on_too),
        ("a_registry_that_knows_no_ranges_begins_anew", a_registry_that_knows_no_ranges_begins_anew),
        ("what_is_not_its_digest_is_refused", what_is_not_its_digest_is_refused),
        ("what_is_longer_than_it_says_is_refused", what_is_longer_than_it_says_is_refused),
        ("the_fitting_image_of_an_index_is_taken", the_fitting_image_of_an_index_is_taken),
        ("what_is_not_there_is_said", what_is_not_there_is_said),
    ];
    let trial = |(name, test): (&str, fn())| {
        let run = move || -> Result<(), Failed> {
            test();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(missing.is_some())
    };
    libtest_mimic::run(&arguments, tests.into_iter().map(trial).collect()).exit_code()
}

/// What the registry does with blobs.
#[derive(Default)]
struct Faults {
    /// Ends the transfer of a large blob after so many bytes.
    cut_after: Option<usize>,
    /// How often.
    cuts: AtomicUsize,
    /// Sends all, whatever range is asked for.
    no_ranges: bool,
}

#[derive(Default)]
struct Content {
    manifests: BTreeMap<String, (String, Vec<u8>)>,
    blobs: BTreeMap<String, Vec<u8>>,
    faults: Faults,
    /// Each blob that was asked for, with the range.
    asked: Mutex<Vec<(String, Option<String>)>>,
}

/// A registry that serves as long as it lives.
struct Registry {
    namespace: Namespace,
    port: u16,
    content: Arc<Content>,
    runtime: Option<tokio::runtime::Runtime>,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Registry {
    fn serve(content: Content) -> Self {
        let namespace = Namespace::create("registry", &Sysctls::HOST).expect("a namespace");
        let listener = namespace.enter(|| TcpListener::bind("127.0.0.1:0")).expect("a namespace").expect("a socket");
        listener.set_nonblocking(true).expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let content = Arc::new(content);
        let router = Router::new()
            .route("/v2/", get(|| async { "{}" }))
            .route("/v2/test/image/manifests/{name}", get(manifest))
            .route("/v2/test/image/blobs/{digest}", get(blob))
            .with_state(Arc::clone(&content));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, router).await.expect("it serves");
        });
        Self { namespace, port, content, runtime: Some(runtime) }
    }

    fn of(image: &Image) -> Content {
        let mut content = Content { blobs: image.blobs.clone(), ..Content::default() };
        content.manifests.insert("v1".to_owned(), (MANIFEST.to_owned(), image.manifest.clone()));
        content.manifests.insert(image.digest(), (MANIFEST.to_owned(), image.manifest.clone()));
        content
    }

    fn wanted(&self, tag: &str) -> Wanted {
        let origin = format!("127.0.0.1:{}/test/image:{tag}", self.port).parse::<Origin>();
        Wanted::new(origin.expect("a name"))
    }

    fn pull(&self, place: &mut Place, tag: &str) -> Result<image::Root, Error> {
        let wanted = self.wanted(tag);
        self.namespace.enter(|| place.obtain(&wanted)).expect("the namespace can be entered")
    }

    /// The ranges that were asked for of a blob.
    fn asked(&self, digest: &str) -> Vec<Option<String>> {
        let asked = self.content.asked.lock().expect("nobody panicked");
        asked.iter().filter(|(blob, _)| blob == digest).map(|(_, range)| range.clone()).collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn manifest(State(content): State<Arc<Content>>, Path(name): Path<String>) -> Response<Body> {
    match content.manifests.get(&name) {
        Some((kind, bytes)) => Response::builder()
            .header(header::CONTENT_TYPE, kind)
            .header("Docker-Content-Digest", image::Digest::of(bytes).to_string())
            .body(Body::from(bytes.clone()))
            .expect("a response"),
        None => Response::builder()
            .status(StatusCode::NOT_FOUND)
            .body(Body::from(r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown tag"}]}"#))
            .expect("a response"),
    }
}

async fn blob(State(content): State<Arc<Content>>, Path(digest): Path<String>, headers: HeaderMap) -> Response<Body> {
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok()).map(str::to_owned);
    content.asked.lock().expect("nobody panicked").push((digest.clone(), range.clone()));
    let Some(bytes) = content.blobs.get(&digest) else {
        return Response::builder().status(StatusCode::NOT_FOUND).body(Body::empty()).expect("a response");
    };
    let from = range.filter(|_| !content.faults.no_ranges);
    let from: usize = from.and_then(|range| range["bytes=".len()..].trim_end_matches('-').parse().ok()).unwrap_or(0);
    let rest = Bytes::copy_from_slice(&bytes[from.min(bytes.len())..]);
    let faults = &content.faults;
    let is_large = rest.len() > 10_000;
    let is_cut = faults.cut_after.is_some_and(|most| is_large && rest.len() > most)
        && faults.cuts.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
    let body = if is_cut {
        let sent = rest.slice(..faults.cut_after.unwrap_or_default());
        let cut = || std::io::Error::other("the way is cut");
        // What comes before the cut is on its way by then.
        let cut = stream::once(async { tokio::task::yield_now().await }).map(move |()| Err(cut()));
        Body::from_stream(stream::iter([Ok(sent)]).chain(cut))
    } else {
        Body::from(rest.clone())
    };
    let status = if from > 0 { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = Response::builder().status(status);
    if from > 0 {
        let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
        response = response.header(header::CONTENT_RANGE, range);
    }
    response.header(header::CONTENT_LENGTH, rest.len()).body(body).expect("a response")
}

/// Two layers, of which the second can't be compressed, so that it has a length to be cut.
fn image() -> Image {
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b' ' + (state >> 24) as u8 % 90)
    };
    let noise: String = (0..200_000).map(|_| noise()).collect();
    Image::of([Layer::default().file("usr/bin/agent", "the agent"), Layer::default().file("noise", &noise)])
}

fn cut(image: &Image, cut_after: usize, cuts: usize, no_ranges: bool) -> Registry {
    let faults = Faults { cut_after: Some(cut_after), cuts: AtomicUsize::new(cuts), no_ranges };
    Registry::serve(Content { faults, ..Registry::of(image) })
}

fn an_image_is_pulled_once() {
    let image = image();
    let registry = Registry::serve(Registry::of(&image));
    let mut place = Place::new();
    let root = registry.pull(&mut place, "v1").expect("it is pulled");
    assert_eq!(root.digest, Some(image.digest()));
    assert_eq!(std::fs::read_to_string(root.dir.join("usr/bin/agent")).expect("it is there"), "the agent");
    let Some(Event::Layer { number: 2, of: 2, done, size: Some(size) }) =
        place.events.iter().rev().find(|event| matches!(event, Event::Layer { .. }))
    else {
        panic!("the last layer's progress was told: {:?}", place.events)
    };
    assert_eq!(done, size, "all of it came");
    let wanted = registry.wanted(&format!("v1@{}", image.digest()));
    let again = registry.namespace.enter(|| place.obtain(&wanted)).expect("a namespace").expect("it is there");
    assert_eq!(again.dir, root.dir, "another name of the same image is the same tree");
    assert_eq!(registry.asked(&image.layer_digest(1)).len(), 1, "its layers are not transferred again");
}

fn a_name_needs_no_registry_once_it_is_known() {
    let image = image();
    let mut place = Place::new();
    let (wanted, dir) = {
        let registry = Registry::serve(Registry::of(&image));
        (registry.wanted("v1"), registry.pull(&mut place, "v1").expect("it is pulled").dir.clone())
    };
    // In the namespace of nobody's registry.
    assert_eq!(place.obtain(&wanted).expect("it is known").dir, dir);
    place.cache.prune().expect("the cache can be pruned");
    let error = place.obtain(&wanted).expect_err("it is forgotten");
    assert!(error.is_missing(), "nobody can be reached: {error}");
    assert!(error.remedy().contains("docker save"), "the remedy is said: {}", error.remedy());
}

fn a_cut_transfer_goes_on_where_it_ended() {
    let image = image();
    let registry = cut(&image, 50_000, 2, false);
    let mut place = Place::new();
    let root = registry.pull(&mut place, "v1").expect("it goes on after a cut");
    assert!(root.dir.join("noise").is_file());
    let asked = registry.asked(&image.layer_digest(1));
    assert_eq!(asked.len(), 3, "two cuts, three requests: {asked:?}");
    assert_eq!(asked[2].as_deref(), Some("bytes=100000-"), "the third begins where the second ended");
}

fn a_later_attempt_goes_on_too() {
    let image = image();
    let mut place = Place::new();
    {
        // What is cut before its first byte brings nothing, and so ends it.
        let registry = cut(&image, 0, usize::MAX, false);
        let error = registry.pull(&mut place, "v1").expect_err("nothing comes");
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    }
    let hex = image.digest()["sha256:".len()..].to_owned();
    let scratch = place.cache.root().join("pulling").join(hex);
    let digest = image.layer_digest(1);
    std::fs::write(scratch.join(&digest["sha256:".len()..]), &image.blobs[&digest][..1234]).expect("write a part");
    let registry = Registry::serve(Registry::of(&image));
    registry.pull(&mut place, "v1").expect("it goes on");
    assert_eq!(registry.asked(&digest), [Some("bytes=1234-".to_owned())]);
    assert!(!scratch.exists(), "layers are not kept beside the tree");
}

fn a_registry_that_knows_no_ranges_begins_anew() {
    let image = image();
    let registry = cut(&image, 50_000, 1, true);
    let mut place = Place::new();
    let root = registry.pull(&mut place, "v1").expect("it begins anew");
    assert!(root.dir.join("noise").is_file());
}

fn what_is_not_its_digest_is_refused() {
    let image = image();
    let digest = image.layer_digest(1);
    let mut content = Registry::of(&image);
    content.blobs.get_mut(&digest).expect("a layer")[70_000] ^= 1;
    let registry = Registry::serve(content);
    let mut place = Place::new();
    for _ in 0..2 {
        let error = registry.pull(&mut place, "v1").expect_err("a bit is wrong");
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        place.assert_empty();
    }
    assert_eq!(registry.asked(&digest).len(), 2, "what was wrong is not kept for the next attempt");
}

fn what_is_longer_than_it_says_is_refused() {
    let image = image();
    let mut content = Registry::of(&image);
    content.blobs.get_mut(&image.layer_digest(1)).expect("a layer").extend([0; 1000]);
    let registry = Registry::serve(content);
    let mut place = Place::new();
    let error = registry.pull(&mut place, "v1").expect_err("it is too long");
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    place.assert_empty();
}

fn the_fitting_image_of_an_index_is_taken() {
    let (fitting, other) = (image(), Image::with([Layer::default().file("a", "a")], "s390x"));
    let mut content = Registry::of(&fitting);
    content.blobs.extend(other.blobs.clone());
    content.manifests.insert(other.digest(), (MANIFEST.to_owned(), other.manifest.clone()));
    let entry = |image: &Image, architecture: &str, os: &str| {
        serde_json::json!({
            "mediaType": MANIFEST, "digest": image.digest(), "size": image.manifest.len(),
            "platform": { "architecture": architecture, "os": os },
        })
    };
    let index = |manifests: Vec<serde_json::Value>| {
        let index = serde_json::json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        (INDEX.to_owned(), index.to_string().into_bytes())
    };
    let attestation = entry(&other, "unknown", "unknown");
    let foreign = entry(&other, "s390x", "linux");
    content.manifests.insert("foreign".to_owned(), index(vec![foreign.clone(), attestation.clone()]));
    content
        .manifests
        .insert("many".to_owned(), index(vec![foreign, attestation, entry(&fitting, common::here(), "linux")]));
    let registry = Registry::serve(content);
    let mut place = Place::new();
    let error = registry.pull(&mut place, "foreign").expect_err("none is for this machine");
    assert!(matches!(&error, Error::Platform { found, .. } if found == "linux/s390x"), "{error}");
    assert_eq!(registry.pull(&mut place, "many").expect("one fits").digest, Some(fitting.digest()));
}

fn what_is_not_there_is_said() {
    let registry = Registry::serve(Registry::of(&image()));
    let mut place = Place::new();
    let error = registry.pull(&mut place, "v2").expect_err("there is no such tag");
    assert!(matches!(error, Error::NotFound { .. }) && !error.is_missing(), "{error}");
    let nobody = Wanted::new("127.0.0.1:1/test/image:v1".parse().expect("a name"));
    let error = registry.namespace.enter(|| place.obtain(&nobody)).expect("a namespace").expect_err("nobody answers");
    assert!(matches!(error, Error::Unreachable { .. }) && error.is_missing(), "{error}");
}
