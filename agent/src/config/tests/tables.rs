//! The tables of the file: what they say arrives, and what is wrong with them is said with its line.

use super::*;

fn said_of(content: &str) -> String {
    let (_file, path) = file(content);
    let said = error(&["agent", "--config", &path], &[]);
    said.strip_prefix(&path).expect("names the file").to_owned()
}

/// Everything a destination can say, beside one from the flags, which comes first.
#[test]
fn destinations() {
    let (_file, path) = file(
        r#"
frequency = 49

[[destination]]
url = "https://profiles.example.com/x/"
name = "main"
tenant_id = "team-a"
bearer_token_file = "/run/token"
headers = { X-Env = "prod", X-Key = "sesame" }
ca_file = "/etc/ca.pem"
client_cert_file = "/etc/cert.pem"
client_key_file = "/etc/key.pem"
rate = "1MiB"
burst = "512KiB"
timeout = "20s"
spool_size = "1GiB"

[[destination]]
url = "http://[::1]:4040"
basic_auth_user = "u"
basic_auth_password = "sesame"
"#,
    );
    let agent = agent(
        &["--config", &path, "--pyroscope-url=http://p:4040/prefix/"],
        &[],
    );
    let destinations = agent.destinations();
    let names: Vec<String> = destinations.iter().map(Destination::name).collect();
    assert_eq!(names, ["p:4040_prefix", "main", "_::1_:4040"]);
    let main = &destinations[1];
    assert_eq!(main.url.as_str(), "https://profiles.example.com/x/");
    assert_eq!(main.tenant_id.as_deref(), Some("team-a"));
    assert_eq!(main.headers["X-Key"].reveal(), "sesame");
    assert_eq!(
        (main.rate, main.burst, main.timeout, main.spool_size),
        (
            Some(1 << 20),
            Some(1 << 19),
            Some(Duration::from_secs(20)),
            Some(1 << 30)
        )
    );
    let files = [
        &main.bearer_token_file,
        &main.ca_file,
        &main.client_cert_file,
        &main.client_key_file,
    ];
    assert!(files.into_iter().all(Option::is_some));
    assert_eq!(
        destinations[2]
            .basic_auth_password
            .as_ref()
            .unwrap()
            .reveal(),
        "sesame"
    );
    assert_eq!(agent.frequency, 49);
    assert!(!format!("{agent:?}").contains("sesame"));
}

/// A key that does not exist, in a table or as a table: its line, and what was meant.
#[test]
fn unknown_keys() {
    assert_eq!(
        said_of("[[destination]]\nurl = 'http://a'\ntenant = 'b'\n"),
        ":3: key \"tenant\" is not known here: did you mean tenant_id?"
    );
    assert_eq!(
        said_of("[[destinations]]\nurl = 'http://a'\n"),
        ":1: key \"destinations\" is not known: did you mean destination?"
    );
}

/// What is wrong with a value or with several together has the line of the value or of the table, and shows no secret.
#[test]
fn bad_tables() {
    let second = "[[destination]]\nurl = 'http://a'\n\n[[destination]]\n";
    for (content, line, says) in [
        ("[destination]\nurl = 'http://a'\n", 1, "[[destination]]"),
        ("destination = 3\n", 1, "expected a sequence"),
        ("[[destination]]\nname = 'a'\n", 1, "missing field `url`"),
        ("[[destination]]\nurl = 'a:4040'\n", 2, "write a URL"),
        (
            "url = 'http://b'\nbearer_token = 'two words'\n",
            4,
            "bearer_token is empty or has blanks",
        ),
        (
            "url = 'http://b'\nbearer_token = 123454321\n",
            6,
            "write it in quotes",
        ),
        ("url = 'http://b'\ntimeout = '1s'\n", 6, "from 10s to 5m"),
        ("url = 'http://b'\nname = '../x'\n", 6, "a name is"),
        (
            "url = 'http://b'\nbasic_auth_user = 'u'\n",
            4,
            "need each other",
        ),
        (
            "url = 'http://b'\nbearer_token = 'x'\nbearer_token_file = '/x'\n",
            4,
            "exclude each other",
        ),
        (
            "url = 'https://b'\nclient_key_file = '/x'\n",
            4,
            "need each other",
        ),
        ("url = 'http://b'\nca_file = '/x'\n", 4, "not https"),
        (
            "url = 'http://b'\nheaders = { X-Scope-OrgID = 'x' }\n",
            4,
            "give tenant_id instead",
        ),
        (
            "url = 'http://b'\nbearer_token = 'x'\nheaders = { authorization = 'y' }\n",
            4,
            "exclude each other",
        ),
        (
            "url = 'http://u:sesame@b'\n",
            5,
            "invalid value \"...@b\": give user and password",
        ),
        (
            "url = 'http://b'\nheaders = { 'a b' = 'x' }\n",
            4,
            "is no name of a header",
        ),
        (
            "url = 'http://b'\nheaders = { a = \"two words\\nlines\" }\n",
            4,
            "HTTP can't carry",
        ),
    ] {
        let content = match content.starts_with("url") {
            true => format!("{second}{content}"),
            false => content.to_owned(),
        };
        let said = said_of(&content);
        assert!(
            said.starts_with(&format!(":{line}: ")) && said.contains(says),
            "{content}\n{said}"
        );
        assert!(!said.contains("12345") && !said.contains("words"), "{said}");
    }
}

/// Rules come in the order of the file, and what is wrong with one is said with its line.
#[test]
fn rules() {
    let (_file, path) = file(
        "[[rule]]\nmatch = { namespace = 'kube-.*' }\naction = 'drop'\n\n\
         [[rule]]\nmatch = { pod = '(.*)-[^-]+' }\naction = 'set'\nset = { team = '$1' }\n",
    );
    let agent = agent(&["--config", &path], &[]);
    assert_eq!(agent.tables.rule.len(), 2);
    for (content, line, says) in [
        (
            "[[rule]]\nmatch = { pod = '(' }\naction = 'drop'\n",
            1,
            "no regular expression",
        ),
        (
            "[[rule]]\naction = 'remove'\n",
            2,
            "unknown variant `remove`",
        ),
        ("[[rule]]\nactoin = 'drop'\n", 2, "did you mean action?"),
        ("[rule]\naction = 'drop'\n", 1, "double brackets"),
    ] {
        let said = said_of(content);
        assert!(
            said.starts_with(&format!(":{line}: ")) && said.contains(says),
            "{content}\n{said}"
        );
    }
}

/// Two of one name would share a spool.
#[test]
fn destinations_have_names_of_their_own() {
    let two = "[[destination]]\nurl = 'http://a'\n[[destination]]\nurl = 'http://a/'\n";
    let (_file, path) = file(two);
    assert_eq!(
        error(&["agent", "--config", &path], &[]),
        "two destinations are called \"a\": give one of them another name"
    );
    let (_file, path) = file(format!("{two}name = 'b'\ntenant_id = 't'\n"));
    assert_eq!(agent(&["--config", &path], &[]).destinations().len(), 2);
}
