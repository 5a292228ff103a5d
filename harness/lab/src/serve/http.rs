//! HTTP and HTTPS servers, and what the lab's internet says on them.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{HeaderName, HeaderValue};
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::calls::CallLog;
use super::{Service, accept};

/// The port of HTTP.
pub const PORT: u16 = 80;

/// The port of HTTPS.
pub const TLS_PORT: u16 = 443;

/// The header in which every answer tells the caller's address, whatever its body is.
pub const CALLER: HeaderName = HeaderName::from_static("x-caller");

/// Serves `router` on a listener, over TLS where a configuration is given. Handlers find the caller in
/// `ConnectInfo<SocketAddr>`; every answer tells it in the header [`CALLER`].
pub fn serve(listener: TcpListener, tls: Option<Arc<ServerConfig>>, router: Router, log: CallLog) -> Service {
    let tls = tls.map(TlsAcceptor::from);
    Service::spawn(async move {
        let Ok(server) = listener.local_addr() else { return };
        accept(listener, |stream, caller| {
            let (tls, router, log) = (tls.clone(), router.clone(), log.clone());
            async move {
                match tls {
                    None => connection(stream, router, log, server, caller).await,
                    // A handshake that fails is the caller's to tell.
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            connection(stream, router, log, server, caller).await;
                        }
                    }
                }
            }
        })
        .await;
    })
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    log: CallLog,
    server: SocketAddr,
    caller: SocketAddr,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        log.record(server, caller, request.uri().path());
        request.extensions_mut().insert(ConnectInfo(caller));
        let answer = router.call(request);
        async move {
            let mut answer: Response<_> = answer.await?;
            if let Ok(value) = HeaderValue::from_str(&caller.ip().to_string()) {
                answer.headers_mut().insert(CALLER, value);
            }
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Says the caller's address as plain text on every path, as api.ipify.org does.
pub fn caller() -> Router {
    async fn tell(ConnectInfo(caller): ConnectInfo<SocketAddr>) -> String {
        caller.ip().to_string()
    }
    Router::new().fallback(tell)
}

/// A Debian mirror as far as `apt update` needs one to say that the way is free: the release file, unsigned. Every
/// other path says the caller's address.
pub fn mirror() -> Router {
    caller().route("/debian/dists/bookworm/InRelease", get(|| async { IN_RELEASE }))
}

const IN_RELEASE: &str = "\
Origin: Debian
Label: Debian
Suite: oldstable
Version: 12.12
Codename: bookworm
Acquire-By-Hash: yes
Architectures: all amd64 arm64 armel armhf i386 mips64el mipsel ppc64el s390x
Components: main contrib non-free-firmware non-free
Description: Debian 12
";
