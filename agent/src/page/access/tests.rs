use super::*;

const TOKEN: &str = "0123456789abcdef";

fn access(listen: &str, token: Option<&str>) -> Access {
    Access::new(
        listen.parse().unwrap(),
        token.map(|token| token.to_owned().into()),
    )
}

fn get(access: &Access, path: &str, headers: &[(&'static str, &str)]) -> Result<Pass, StatusCode> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    access
        .check(&Method::GET, &path.parse().unwrap(), &map)
        .map_err(|refusal| {
            assert!(!refusal.sentence.is_empty());
            refusal.status
        })
}

/// On loopback the machine's own names pass, everything else is refused on every path: a rebound name above all.
#[test]
fn foreign_hosts_are_refused_on_loopback() {
    let access = access("127.0.0.1:4041", None);
    for path in ["/", "/metrics", "/healthz", "/api/owners"] {
        for host in [
            "localhost",
            "LOCALHOST:4041",
            "127.0.0.1:4041",
            "127.9.8.7",
            "[::1]:4041",
            "[::ffff:127.0.0.1]",
        ] {
            assert_eq!(
                get(&access, path, &[("host", host)]),
                Ok(Pass::Through),
                "{host}"
            );
        }
        for host in [
            "evil.example",
            "evil.example:4041",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[::2]",
            "0.0.0.0",
            "",
            "::1",
            "localhost@evil.example",
            "evil@localhost",
            "127.1",
            "localhost, evil.example",
        ] {
            assert_eq!(
                get(&access, path, &[("host", host)]),
                Err(StatusCode::MISDIRECTED_REQUEST),
                "{host}"
            );
        }
        assert_eq!(
            get(&access, path, &[]),
            Err(StatusCode::MISDIRECTED_REQUEST)
        );
    }
    let twice = [("host", "localhost"), ("host", "evil.example")];
    assert!(get(&access, "/", &twice).is_err());
    let in_the_request_line = get(&access, "http://evil.example/", &[("host", "localhost")]);
    assert!(in_the_request_line.is_err());
}

/// A loopback address other than 127.0.0.1 is loopback too, also as IPv6 writes it.
#[test]
fn all_of_loopback_is_loopback() {
    for listen in ["127.0.0.5:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        let access = access(listen, None);
        assert_eq!(
            get(&access, "/", &[("host", "localhost")]),
            Ok(Pass::Through)
        );
        assert!(get(&access, "/", &[("host", "evil.example")]).is_err());
    }
}

/// Beyond loopback metrics and health are everyone's under any name; page and API are nobody's without a token.
#[test]
fn beyond_loopback_without_token() {
    for listen in ["0.0.0.0:4041", "[::]:4041", "10.0.0.5:4041"] {
        let access = access(listen, None);
        for host in ["node7.cluster:4041", "10.0.0.5:4041"] {
            let headers = [("host", host)];
            assert_eq!(get(&access, "/metrics", &headers), Ok(Pass::Through));
            assert_eq!(get(&access, "/healthz", &headers), Ok(Pass::Through));
            for path in [
                "/",
                "/app.js",
                "/api/owners",
                "/api/profile",
                "/metrics/",
                "//metrics",
            ] {
                assert_eq!(
                    get(&access, path, &headers),
                    Err(StatusCode::FORBIDDEN),
                    "{path}"
                );
            }
        }
    }
}

/// The token opens page and API by header, cookie or once by query; nothing that merely resembles it does.
#[test]
fn the_token_opens() {
    for listen in ["0.0.0.0:4041", "127.0.0.1:4041"] {
        let access = access(listen, Some(TOKEN));
        let host = ("host", "127.0.0.1");
        for header in [
            ("authorization", "Bearer 0123456789abcdef"),
            ("authorization", "bearer  0123456789abcdef"),
            ("cookie", "a=b; thermograph_token=0123456789abcdef; c"),
        ] {
            assert_eq!(
                get(&access, "/api/owners", &[host, header]),
                Ok(Pass::Through)
            );
        }
        for header in [
            ("authorization", "0123456789abcdef"),
            ("authorization", "Basic 0123456789abcdef"),
            ("authorization", "Bearer 0123456789abcde"),
            ("authorization", "Bearer 0123456789abcdeff"),
            ("authorization", "Bearer "),
            ("cookie", "xthermograph_token=0123456789abcdef"),
            ("cookie", "thermograph_token="),
        ] {
            assert_eq!(
                get(&access, "/", &[host, header]),
                Err(StatusCode::FORBIDDEN)
            );
        }
        let by_query = |path| get(&access, path, &[host]);
        let kept = |address: &str| {
            Ok(Pass::WithoutToken {
                address: address.to_owned(),
            })
        };
        assert_eq!(by_query("/?token=0123456789abcdef"), kept("/"));
        assert_eq!(
            by_query("/api/owners?from=1&token=0123456789abcdef&to=2"),
            kept("/api/owners?from=1&to=2")
        );
        assert_eq!(
            by_query("//evil.example/x?token=0123456789abcdef&y=1"),
            kept("/evil.example/x?y=1")
        );
        for path in [
            "/?token=",
            "/?token",
            "/?xtoken=0123456789abcdef",
            "/?token=0123456789ABCDEF",
        ] {
            assert_eq!(by_query(path), Err(StatusCode::FORBIDDEN));
        }
    }
}

/// The cookie is out of reach of scripts and other sites, and the token out of the address.
#[test]
fn the_cookie_is_strict() {
    let response = access("0.0.0.0:1", Some(TOKEN)).keep_token("/?x=1");
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(response.headers()["location"], "/?x=1");
    assert_eq!(
        response.headers()["set-cookie"],
        "thermograph_token=0123456789abcdef; Path=/; HttpOnly; SameSite=Strict"
    );
}

/// Another site's page, or one on another port of this machine, gets nothing out of the API; a link to the page works.
#[test]
fn other_sites_get_no_data() {
    let access = access("127.0.0.1:4041", None);
    let host = ("host", "localhost:4041");
    for site in ["cross-site", "same-site", "nonsense"] {
        let headers = [host, ("sec-fetch-site", site)];
        assert_eq!(
            get(&access, "/api/profile", &headers),
            Err(StatusCode::FORBIDDEN)
        );
        assert_eq!(get(&access, "/", &headers), Ok(Pass::Through));
    }
    for site in ["none", "same-origin"] {
        let headers = [host, ("sec-fetch-site", site)];
        assert_eq!(get(&access, "/api/owners", &headers), Ok(Pass::Through));
    }
}

/// Nothing is changed over HTTP.
#[test]
fn only_reading() {
    let access = access("127.0.0.1:4041", None);
    let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost"))]);
    for method in [
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
    ] {
        let refusal = access.check(&method, &Uri::from_static("/"), &headers);
        assert_eq!(refusal.unwrap_err().status, StatusCode::METHOD_NOT_ALLOWED);
    }
}
