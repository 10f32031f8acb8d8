//! curl against nginx: files of every size come and go unchanged in each version of HTTP that the two speak, and connections are
//! kept where the version keeps them.

use mesh::Protocol;

use crate::process::{Scratch, Server, curl, free_addresses, program, said};
use crate::stage::Hops;
use crate::support::run;

const NGINX: &str = "
daemon off; master_process off; error_log stderr error; pid FOLDER/nginx.pid;
events { worker_connections 64; }
http {
  access_log off; client_max_body_size 0;
  client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy; fastcgi_temp_path FOLDER/fastcgi;
  uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
  server { listen LISTEN; root FOLDER/files; location /put/ { dav_methods PUT; create_full_put_path on; } }
}
";

/// Sizes around those of buffers and windows.
const SIZES: [usize; 5] = [0, 1, 8_192, 65_536, 3_000_001];

/// nginx over a folder of files.
struct Nginx {
    scratch: Scratch,
    server: Server,
}

impl Nginx {
    /// `spoken` is what its listener takes beside the address: nothing for HTTP/1, or `http2`.
    async fn start(name: &str, spoken: &str) -> Self {
        let scratch = Scratch::new(name);
        std::fs::create_dir_all(scratch.0.join("files")).unwrap();
        for size in SIZES {
            let bytes: Vec<u8> = (0..size).map(|at| (at * 31 % 251) as u8).collect();
            std::fs::write(scratch.0.join(format!("files/{size}")), bytes).unwrap();
        }
        let [address] = free_addresses();
        let config = NGINX.replace("FOLDER", &scratch.0.display().to_string());
        let config = config.replace("LISTEN", &format!("{address} {spoken}"));
        std::fs::write(scratch.0.join("nginx.conf"), config).unwrap();
        let mut nginx = program("nginx");
        nginx.args(["-e", "stderr", "-c", &scratch.path("nginx.conf")]);
        Self { server: Server::at(nginx, address).await, scratch }
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.scratch.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

/// Gets and puts every file by a curl that speaks `version`, and twice in a row on one connection.
async fn files_pass(nginx: &Nginx, hops: &Hops, version: &str) {
    let connect_to = hops.connect_to();
    for size in SIZES {
        let (url, file) = (format!("http://web/{size}"), nginx.scratch.path(&format!("files/{size}")));
        let got = nginx.scratch.path("got");
        let words =
            [version, "--connect-to", &connect_to, "--output", &got, "--write-out", "%{response_code}", &url];
        assert_eq!(said(curl(&words)).await, "200", "{version} {size}");
        assert!(
            nginx.read("got") == nginx.read(&format!("files/{size}")),
            "{version}: {size} bytes came changed"
        );

        let url = format!("http://web/put/{size}");
        let words = [
            version,
            "--connect-to",
            &connect_to,
            "--write-out",
            "%{response_code}",
            "--upload-file",
            &file,
            &url,
        ];
        let status = said(curl(&words)).await;
        assert!(["201", "204"].contains(&status.as_str()), "{version} {size}: {status}");
        assert!(
            nginx.read(&format!("files/put/{size}")) == nginx.read(&format!("files/{size}")),
            "{version}: {size} bytes went changed"
        );
    }
}

#[test]
fn files_come_and_go_unchanged_in_every_version_of_http() {
    run(async {
        for (name, spoken, protocol) in
            [("nginx-1", "", Protocol::Http1), ("nginx-2", "http2", Protocol::Http2)]
        {
            let nginx = Nginx::start(name, spoken).await;
            let hops = Hops::to(nginx.server.address, protocol);
            for version in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
                files_pass(&nginx, &hops, version).await;
            }
        }
    });
}

/// Versions and connections that a curl makes for three requests in a row.
async fn connections(hops: &Hops, words: &[&str]) -> String {
    let connect_to = hops.connect_to();
    let each = ["--connect-to", &connect_to, "--write-out", "%{http_version}:%{num_connects} "];
    let urls = ["--output", "/dev/null", "http://web/1"].repeat(3);
    said(curl(&[words, &each, &urls].concat())).await
}

#[test]
fn connections_are_kept_where_the_version_keeps_them() {
    run(async {
        let nginx = Nginx::start("nginx-kept", "").await;
        let hops = Hops::to(nginx.server.address, Protocol::Http1);
        assert_eq!(connections(&hops, &["--http1.1"]).await, "1.1:1 1.1:0 1.1:0 ");
        assert_eq!(connections(&hops, &["--http1.0"]).await, "1:1 1:1 1:1 ");
        let kept = connections(&hops, &["--http1.0", "--header", "Connection: keep-alive"]).await;
        assert_eq!(kept, "1:1 1:0 1:0 ", "an old caller may ask for it");
        let closed = connections(&hops, &["--http1.1", "--header", "Connection: close"]).await;
        assert_eq!(closed, "1.1:1 1.1:1 1.1:1 ");
    });
}

#[test]
fn a_forward_proxy_is_what_curl_takes_us_for_and_resumed_downloads_are_the_right_part() {
    run(async {
        let nginx = Nginx::start("nginx-forward", "").await;
        let hops = Hops::to(nginx.server.address, Protocol::Http1);
        let (proxy, got) = (format!("http://{}", hops.outbound()), nginx.scratch.path("got"));
        let words = [
            "--proxy",
            &proxy,
            "--range",
            "1000-65999",
            "--output",
            &got,
            "--write-out",
            "%{response_code}",
            "http://web/3000001",
        ];
        assert_eq!(said(curl(&words)).await, "206");
        assert!(
            nginx.read("got") == nginx.read("files/3000001")[1000..66_000],
            "the part that was asked for"
        );
        let words = ["--proxy", &proxy, "--head", "http://web/65536"];
        let head = said(curl(&words)).await;
        assert!(
            head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("Content-Length: 65536\r\n"),
            "{head}"
        );
        let words = ["--proxy", &proxy, "--include", "http://web/nothing"];
        let missing = said(curl(&words)).await;
        assert!(
            missing.starts_with("HTTP/1.1 404 Not Found\r\n") && missing.contains("<center>nginx"),
            "{missing}"
        );
    });
}

#[test]
fn an_old_client_that_names_no_host_is_served() {
    run(async {
        let nginx = Nginx::start("nginx-old", "").await;
        let hops = Hops::by_listener(nginx.server.address, Protocol::Http1);
        for address in [hops.listener(), hops.callee.workers.inbound_address.unwrap()] {
            let url = format!("http://{address}/1");
            let words = [
                "--http1.0",
                "--header",
                "Host:",
                "--output",
                "/dev/null",
                "--write-out",
                "%{response_code}",
            ];
            assert_eq!(
                said(curl(&[&words[..], &[&url]].concat())).await,
                "200",
                "nginx refuses HTTP/1.1 without a host"
            );
        }
    });
}
