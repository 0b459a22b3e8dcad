//! Images over a real network: hostile servers on loopback, a proxy in the environment, addresses that must not be asked.

#[path = "support/tally.rs"]
mod tally;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use contentd::images::{Bounds, ImageKeeper, KeepImages, Kept, path_of};
use contentd::task::image::ImageFault;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nthe rest of it";

/// Answers each connection by its path, on a thread of its own.
struct Server {
    address: String,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn start(answer: impl Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let (counter, answer) = (Arc::clone(&asked), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (counter, answer) = (Arc::clone(&counter), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let mut stream = stream;
                    let mut head = Vec::new();
                    let mut byte = [0];
                    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                        head.push(byte[0]);
                    }
                    counter.fetch_add(1, Ordering::SeqCst);
                    let head = String::from_utf8_lossy(&head).into_owned();
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    // A client that hangs up is what is tested.
                    let _ = answer(&path, &mut stream);
                });
            }
        });
        Self { address, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }
}

fn ok(stream: &mut TcpStream, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)
}

fn elsewhere(stream: &mut TcpStream, location: &str) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

fn bounds() -> Bounds {
    Bounds { max_bytes: 1 << 20, timeout: Duration::from_secs(2), allow_private: true }
}

fn keep(state_dir: &Path, bounds: Bounds, url: &str) -> Result<Kept, ImageFault> {
    let keeper = ImageKeeper::new(state_dir.to_owned(), bounds);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(keeper.keep(url.to_owned()))
}

fn is_final(fault: &ImageFault) -> bool {
    matches!(fault, ImageFault::Final(_))
}

fn words(fault: &ImageFault) -> &str {
    let (ImageFault::Final(why) | ImageFault::Passing(why)) = fault;
    why
}

fn answer(path: &str, stream: &mut TcpStream) -> std::io::Result<()> {
    match path {
        "/good" | "/path/good" => ok(stream, PNG),
        "/moved" => elsewhere(stream, "path/good"),
        "/svg" => ok(stream, b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>"),
        "/empty" => ok(stream, b""),
        "/gone" => write!(stream, "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"),
        "/busy" => write!(stream, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"),
        "/round" => elsewhere(stream, "/round"),
        "/file" => elsewhere(stream, "file:///etc/passwd"),
        "/nowhere" => write!(stream, "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"),
        "/claims-much" => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")?;
            stream.write_all(PNG)
        }
        "/endless" => {
            write!(stream, "HTTP/1.1 200 OK\r\n\r\n")?;
            stream.write_all(PNG)?;
            loop {
                stream.write_all(&[0; 4096])?;
            }
        }
        "/endless-chunks" => {
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            loop {
                write!(stream, "1000\r\n")?;
                stream.write_all(&[b'x'; 4096])?;
                write!(stream, "\r\n")?;
            }
        }
        "/slow" => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")?;
            loop {
                stream.write_all(b"\x89")?;
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        "/silent" => stream.read(&mut [0]).map(drop),
        "/slow-head" => {
            write!(stream, "HTTP/1.1 200 OK\r\n")?;
            loop {
                write!(stream, "X: y\r\n")?;
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        "/huge-head" => {
            write!(stream, "HTTP/1.1 200 OK\r\n")?;
            for n in 0..100_000 {
                write!(stream, "X-{n}: {}\r\n", "y".repeat(100))?;
            }
            write!(stream, "\r\n")
        }
        "/half" => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")?;
            stream.write_all(PNG)
        }
        "/half-chunk" => {
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n")?;
            stream.write_all(PNG)
        }
        "/nonsense" => write!(stream, "I am no HTTP server\r\n\r\n"),
        "/cut" => Ok(()),
        other => panic!("nobody asks for {other}"),
    }
}

#[test]
fn hostile_servers_cost_their_own_image_and_nothing_else() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(answer);
    let kept = keep(state.path(), bounds(), &server.url("/good")).expect("kept");
    assert_eq!((kept.media_type, kept.bytes), ("image/png", PNG.len() as u64), "whatever the server says it is");
    assert_eq!(std::fs::read(path_of(state.path(), &kept.file)).unwrap(), PNG);
    assert!(kept.file.len() == 68 && kept.file.ends_with(".png"), "its name is ours: {}", kept.file);
    assert_eq!(keep(state.path(), bounds(), &server.url("/moved")), Ok(kept.clone()), "a redirect is followed");
    let with_name = server.url("/good").replace("http://", "http://user:secret@") + "#part";
    assert_eq!(keep(state.path(), bounds(), &with_name), Ok(kept));
    // What is final would be the same again; what is not is tried again.
    let cases = [
        ("/svg", true, "no PNG, JPEG, GIF or WebP"),
        ("/empty", true, "no PNG"),
        ("/gone", true, "410"),
        ("/busy", false, "503"),
        ("/round", true, "redirects"),
        ("/file", true, "only http and https"),
        ("/nowhere", true, "redirect to nowhere"),
        ("/claims-much", true, "larger than 1048576 bytes"),
        ("/endless", true, "larger than 1048576 bytes"),
        ("/endless-chunks", true, "larger than 1048576 bytes"),
        ("/slow", false, "not there after 2 s"),
        ("/silent", false, "not there after 2 s"),
        ("/slow-head", false, "not there after 2 s"),
        ("/huge-head", false, ""),
        ("/half", false, ""),
        ("/half-chunk", false, ""),
        ("/nonsense", false, ""),
        ("/cut", false, ""),
    ];
    let faults: Vec<_> = std::thread::scope(|scope| {
        let asked = cases.map(|(path, ..)| {
            let (url, state) = (server.url(path), state.path());
            scope.spawn(move || keep(state, bounds(), &url).expect_err(path))
        });
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for ((path, must_be_final, said), fault) in cases.iter().zip(&faults) {
        assert_eq!(is_final(fault), *must_be_final, "{path}: {fault:?}");
        assert!(words(fault).contains(said), "{path}: {fault:?}");
    }
    let mut files = Vec::new();
    for shelf in std::fs::read_dir(state.path().join("images")).unwrap() {
        files.push(shelf.unwrap().file_name());
    }
    assert_eq!(files.len(), 1, "one shelf with one image, and nothing half: {files:?}");
    tally::tell("images", &format!("{} hostile servers of images", cases.len()));
}

#[test]
fn addresses_of_this_machine_and_its_networks_are_not_asked() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(answer);
    let port = server.address.rsplit(':').next().unwrap().to_owned();
    let closed = Bounds { allow_private: false, ..bounds() };
    // Every way to write an address that somebody has thought of.
    let hosts =
        ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:127.0.0.1]", "127.1", "0.0.0.0"];
    for host in hosts {
        let fault = keep(state.path(), closed, &format!("http://{host}:{port}/good")).expect_err(host);
        assert!(is_final(&fault) && words(&fault).contains("images.allow_private"), "{host}: {fault:?}");
    }
    for url in ["http://169.254.169.254/latest/", "http://10.0.0.1/", "http://[fe80::1]/", "http://[fd00::1]/a.png"] {
        let fault = keep(state.path(), closed, url).expect_err(url);
        assert!(is_final(&fault), "{url}: {fault:?}");
    }
    for url in ["file:///etc/passwd", "ftp://e.org/a.png", "data:image/png;base64,AA", "", "http://", "//e.org/a"] {
        let fault = keep(state.path(), bounds(), url).expect_err(url);
        assert!(is_final(&fault), "{url:?}: {fault:?}");
    }
    let long = format!("http://127.0.0.1/{}", "a".repeat(10_000));
    assert!(is_final(&keep(state.path(), bounds(), &long).expect_err("too long")));
    assert_eq!(server.asked.load(Ordering::SeqCst), 0, "nobody was asked");
}

#[test]
fn a_disk_that_takes_nothing_is_tried_again() {
    let state = tempfile::tempdir().unwrap();
    std::fs::write(state.path().join("images"), "in the way").unwrap();
    let server = Server::start(answer);
    let fault = keep(state.path(), bounds(), &server.url("/good")).expect_err("no directory");
    assert!(!is_final(&fault) && words(&fault).contains("cannot be kept"), "{fault:?}");
}

#[test]
fn what_a_daemon_that_died_left_half_goes() {
    let state = tempfile::tempdir().unwrap();
    let images = state.path().join("images");
    std::fs::create_dir(&images).unwrap();
    std::fs::write(images.join(".part-1-0"), "half").unwrap();
    std::fs::write(images.join(format!(".part-{}-9", std::process::id())), "in hand").unwrap();
    drop(ImageKeeper::new(state.path().to_owned(), bounds()));
    let left: Vec<_> = std::fs::read_dir(&images).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 1, "what another keeper of this daemon has in hand stays: {left:?}");
}
