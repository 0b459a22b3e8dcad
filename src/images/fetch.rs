//! One image over HTTP: within a time, a size and a number of redirects, from an address that was judged.
//!
//! Redirects are followed here and not by the client, so that each new address is judged like the first. No proxy of the
//! environment is used: it would ask whatever it likes in our place. What the server says of the type is not looked at.

use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use ureq::http::{Response, StatusCode, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, Error};
use url::Url;

use super::Bounds;
use super::address::{Judging, Refused};
use crate::task::image::ImageFault;

/// How often a server may send us elsewhere.
const MAX_REDIRECTS: usize = 5;
/// The longest address.
const MAX_URL_BYTES: usize = 8 * 1024;
/// The longest head of an answer.
const MAX_HEAD_BYTES: usize = 32 * 1024;
const CHUNK_BYTES: usize = 64 * 1024;
/// Where systems keep the certificates that they trust.
const CERTIFICATES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Fetches an image and gives its bytes to `take`, piece by piece. Blocks.
pub fn fetch(
    url: &str,
    bounds: &Bounds,
    take: &mut dyn FnMut(&[u8]) -> Result<(), ImageFault>,
) -> Result<(), ImageFault> {
    let until = Instant::now() + bounds.timeout;
    let mut url = parse(url)?;
    for _ in 0..=MAX_REDIRECTS {
        let response = ask(&url, bounds, until)?;
        let status = response.status();
        if let Some(next) = redirect(&response, &url)? {
            url = next;
            continue;
        }
        if status != StatusCode::OK {
            return Err(of_status(status));
        }
        return read(response, bounds, until, take);
    }
    Err(ImageFault::Final(format!("more than {MAX_REDIRECTS} redirects")))
}

fn parse(text: &str) -> Result<Url, ImageFault> {
    if text.len() > MAX_URL_BYTES {
        return Err(ImageFault::Final(format!(
            "an address of {} bytes; at most {MAX_URL_BYTES} are asked",
            text.len()
        )));
    }
    judged(Url::parse(text).map_err(|error| ImageFault::Final(format!("no address: {error}")))?)
}

fn judged(mut url: Url) -> Result<Url, ImageFault> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(ImageFault::Final(format!("only http and https are fetched, and this is {}", url.scheme())));
    }
    // What is known to whoever wrote the piece is no secret worth sending.
    if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
        return Err(ImageFault::Final("an address without a host".to_owned()));
    }
    url.set_fragment(None);
    Ok(url)
}

fn redirect(response: &Response<Body>, from: &Url) -> Result<Option<Url>, ImageFault> {
    let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    if !is_redirect {
        return Ok(None);
    }
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let location = location.filter(|text| text.len() <= MAX_URL_BYTES);
    let location = location.ok_or_else(|| ImageFault::Final("a redirect to nowhere".to_owned()))?;
    let next = from.join(location).map_err(|error| ImageFault::Final(format!("a redirect to no address: {error}")))?;
    judged(next).map(Some)
}

fn of_status(status: StatusCode) -> ImageFault {
    let why = format!("its server answered {status}");
    // These may be another answer later; everything else is the server's word on this address.
    let is_passing = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    if is_passing { ImageFault::Passing(why) } else { ImageFault::Final(why) }
}

fn ask(url: &Url, bounds: &Bounds, until: Instant) -> Result<Response<Body>, ImageFault> {
    let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
    let left = left.ok_or_else(|| too_slow(bounds))?;
    let config = Agent::config_builder()
        .timeout_global(Some(left))
        .max_redirects(0)
        .http_status_as_error(false)
        .max_response_header_size(MAX_HEAD_BYTES)
        .max_idle_connections(0)
        .proxy(None)
        .user_agent("contentd")
        .accept("image/png, image/jpeg, image/gif, image/webp")
        .tls_config(tls())
        .build();
    let resolver = Judging { allow_private: bounds.allow_private, names: DefaultResolver::default() };
    let agent = Agent::with_parts(config, DefaultConnector::default(), resolver);
    agent.get(url.as_str()).call().map_err(|error| of_error(error, bounds))
}

fn read(
    response: Response<Body>,
    bounds: &Bounds,
    until: Instant,
    take: &mut dyn FnMut(&[u8]) -> Result<(), ImageFault>,
) -> Result<(), ImageFault> {
    let body = response.into_body();
    let too_large = || ImageFault::Final(format!("larger than {} bytes (images.max_bytes)", bounds.max_bytes));
    if body.content_length().is_some_and(|length| length > bounds.max_bytes) {
        return Err(too_large());
    }
    let expected = body.content_length();
    let mut reader = body.into_reader();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut bytes: u64 = 0;
    loop {
        // A byte now and then would keep each read alive.
        if Instant::now() >= until {
            return Err(too_slow(bounds));
        }
        let count = match reader.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(of_error(Error::from(error), bounds)),
        };
        bytes += count as u64;
        if bytes > bounds.max_bytes {
            return Err(too_large());
        }
        take(&chunk[..count])?;
    }
    if expected.is_some_and(|expected| expected != bytes) {
        return Err(ImageFault::Passing(format!("cut off after {bytes} of {} bytes", expected.unwrap_or(0))));
    }
    Ok(())
}

fn too_slow(bounds: &Bounds) -> ImageFault {
    ImageFault::Passing(format!("not there after {} s (images.timeout)", bounds.timeout.as_secs_f64()))
}

fn of_error(error: Error, bounds: &Bounds) -> ImageFault {
    match error {
        Error::Other(cause) if cause.is::<Refused>() => ImageFault::Final(cause.to_string()),
        Error::Timeout(_) => too_slow(bounds),
        Error::Io(cause) if matches!(cause.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {
            too_slow(bounds)
        }
        Error::BadUri(why) => ImageFault::Final(format!("no address that can be asked: {why}")),
        // A server that is away, a name that is not known now, a certificate that has expired: all of them may be mended.
        error => ImageFault::Passing(error.to_string()),
    }
}

/// The certificates of the system, read once; a machine without any can fetch nothing by https.
fn tls() -> TlsConfig {
    static ROOTS: OnceLock<Arc<Vec<Certificate<'static>>>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let named = std::env::var("SSL_CERT_FILE").ok();
        let files = named.iter().map(String::as_str).chain(CERTIFICATES);
        let pem = files.filter_map(|file| std::fs::read(Path::new(file)).ok()).next().unwrap_or_default();
        let certificates = parse_pem(&pem).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        });
        Arc::new(certificates.collect())
    });
    TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::Specific(Arc::clone(roots)))
        .build()
}
