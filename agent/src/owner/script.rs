//! The script that an interpreter runs, by its command line: `python3 app.py` is `app` to whoever looks for it.

use super::label::label_text;

/// How an interpreter's options are written, as far as they stand before the script.
struct Interpreter {
    /// Its executables: the name, and whether a version may follow (`python3.11`).
    names: &'static [&'static str],
    /// Letters of options with a value (`-W error` or `-Werror`).
    valued: &'static str,
    /// Letters of options with a value that may only follow at once (`-Mstrict`).
    attached: &'static str,
    /// Long options whose value is the next argument.
    valued_long: &'static [&'static str],
    /// Letters of options that give code in place of a script.
    code: &'static str,
    /// Letter of the option whose value is what runs, if there is one.
    runs: Option<char>,
    /// Endings of scripts that are no part of a name.
    endings: &'static [&'static str],
}

const INTERPRETERS: [Interpreter; 6] = [
    Interpreter {
        names: &["python", "pypy"],
        valued: "WXQ",
        attached: "",
        valued_long: &["--check-hash-based-pycs"],
        code: "c",
        runs: Some('m'),
        endings: &[".py", ".pyc", ".pyz"],
    },
    Interpreter {
        names: &["node", "nodejs"],
        valued: "rC",
        attached: "",
        valued_long: &[
            "--require",
            "--import",
            "--loader",
            "--experimental-loader",
            "--conditions",
            "--eval",
            "--print",
            "--env-file",
            "--env-file-if-exists",
            "--unhandled-rejections",
            "--input-type",
            "--title",
            "--icu-data-dir",
            "--openssl-config",
            "--max-http-header-size",
            "--dns-result-order",
            "--disable-warning",
            "--redirect-warnings",
            "--diagnostic-dir",
            "--inspect-port",
            "--watch-path",
        ],
        code: "ep",
        runs: None,
        endings: &[".js", ".mjs", ".cjs", ".ts"],
    },
    Interpreter {
        names: &["ruby"],
        valued: "CEIXr",
        attached: "WKTxiF0",
        valued_long: &["--encoding", "--external-encoding", "--internal-encoding"],
        code: "e",
        runs: None,
        endings: &[".rb", ".ru"],
    },
    Interpreter {
        names: &["perl"],
        valued: "I",
        attached: "MmCDFVilx0",
        valued_long: &[],
        code: "eE",
        runs: None,
        endings: &[".pl"],
    },
    Interpreter {
        names: &["php"],
        valued: "cdzt",
        attached: "",
        valued_long: &["--php-ini", "--define", "--zend-extension", "--docroot"],
        code: "rBREFSails",
        runs: Some('f'),
        endings: &[".php", ".phar"],
    },
    Interpreter {
        names: &["sh", "bash", "dash", "ash", "zsh", "ksh"],
        valued: "oO",
        attached: "",
        valued_long: &["--rcfile", "--init-file"],
        code: "cs",
        runs: None,
        endings: &[".sh", ".bash", ".zsh"],
    },
];

/// Java's options whose value is the next argument.
const JAVA_VALUED: [&str; 15] = [
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--upgrade-module-path",
    "--add-modules",
    "--add-opens",
    "--add-exports",
    "--add-reads",
    "--limit-modules",
    "--patch-module",
    "--enable-native-access",
    "--source",
    "--finalization",
];

/// Names of files that say less than the directory they are in.
const NAMELESS: [&str; 2] = ["index", "__main__"];

/// Name of the script that a process of this executable runs; nothing if it is no interpreter, or runs no script.
/// `command_line` is that of /proc/PID/cmdline: arguments that each end with a zero byte.
pub(super) fn script_name(executable: &str, command_line: &[u8]) -> Option<String> {
    let arguments = command_line.split(|byte| *byte == 0).skip(1);
    let mut arguments = arguments.map(|argument| String::from_utf8_lossy(argument).into_owned());
    let name = if executable == "java" {
        java(&mut arguments)?
    } else {
        let interpreter = INTERPRETERS.iter().find(|known| known.is(executable))?;
        interpreter.script(&mut arguments)?
    };
    let name = label_text(name.as_bytes());
    (!name.is_empty() && !is_generated(&name)).then_some(name)
}

/// Whether a name is mostly a number, a hash or a UUID: each run of a job that is written to a file of such a name would have a
/// series of its own.
fn is_generated(name: &str) -> bool {
    let count = |is: fn(&char) -> bool| name.chars().filter(is).count();
    let all = count(|c| c.is_alphanumeric());
    let digits = count(char::is_ascii_digit);
    let hex = count(char::is_ascii_hexdigit);
    digits >= 4 && (digits * 2 > all || all >= 8 && hex * 4 >= all * 3)
}

impl Interpreter {
    fn is(&self, executable: &str) -> bool {
        let is_version = |rest: &str| rest.chars().all(|c| c.is_ascii_digit() || c == '.');
        let mut names = self.names.iter();
        names.any(|name| executable.strip_prefix(name).is_some_and(is_version))
    }

    fn script(&self, arguments: &mut dyn Iterator<Item = String>) -> Option<String> {
        while let Some(argument) = arguments.next() {
            if argument == "--" {
                return self.file(&arguments.next()?);
            }
            if argument.starts_with("--") {
                if self.valued_long.contains(&argument.as_str()) {
                    arguments.next()?;
                }
                continue;
            }
            let Some(letters) = argument.strip_prefix('-') else {
                return self.file(&argument);
            };
            // A dash alone is standard input.
            if letters.is_empty() {
                return None;
            }
            for (at, letter) in letters.char_indices() {
                let rest = &letters[at + letter.len_utf8()..];
                if self.code.contains(letter) {
                    return None;
                }
                if self.runs == Some(letter) {
                    let what = if rest.is_empty() {
                        arguments.next()?
                    } else {
                        rest.to_owned()
                    };
                    return self.file(&what);
                }
                if self.attached.contains(letter) {
                    break;
                }
                if self.valued.contains(letter) {
                    if rest.is_empty() {
                        arguments.next()?;
                    }
                    break;
                }
            }
        }
        None
    }

    /// Name of the file at `path`, or what it is called by its directory; none of what is read from a pipe (`/dev/fd/63`).
    fn file(&self, path: &str) -> Option<String> {
        if path.is_empty() || path.starts_with("/dev/") || path.starts_with("/proc/") {
            return None;
        }
        let mut components = path.rsplit('/').filter(|component| !component.is_empty());
        let last = components.next().unwrap_or_default();
        let ending = self
            .endings
            .iter()
            .find_map(|ending| last.strip_suffix(ending));
        let name = ending.filter(|stem| !stem.is_empty()).unwrap_or(last);
        let name = match components.next() {
            Some(directory) if NAMELESS.contains(&name) && !directory.starts_with('.') => directory,
            _ => name,
        };
        Some(name.to_owned())
    }
}

/// `-jar x.jar` is `x`, `com.acme.Main` and `-m acme/com.acme.Main` are `Main`.
fn java(arguments: &mut dyn Iterator<Item = String>) -> Option<String> {
    while let Some(argument) = arguments.next() {
        if argument == "-jar" {
            let path = arguments.next()?;
            let file = path.rsplit('/').next().unwrap_or_default();
            return Some(file.strip_suffix(".jar").unwrap_or(file).to_owned());
        }
        if argument == "-m" || argument == "--module" {
            return arguments.next().map(|module| class(&module));
        }
        if JAVA_VALUED.contains(&argument.as_str()) {
            arguments.next()?;
        } else if !argument.starts_with(['-', '@']) {
            return Some(class(&argument));
        }
    }
    None
}

/// Last part of a class's name, or of the name of a file of source.
fn class(name: &str) -> String {
    let name = name.strip_suffix(".java").unwrap_or(name);
    name.rsplit(['.', '/']).next().unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    fn script(executable: &str, line: &str) -> Option<String> {
        let line: String = line.split(' ').map(|word| format!("{word}\0")).collect();
        script_name(executable, line.as_bytes())
    }

    /// Command lines as people and images write them, by the interpreter's own rules for options.
    #[test]
    fn scripts_of_interpreters() {
        for (executable, line, name) in [
            ("python3.11", "python app.py", Some("app")),
            (
                "python3.11",
                "python3 -u /srv/shop/app.py --port 80",
                Some("app"),
            ),
            ("python3", "python3 -m pkg.mod", Some("pkg.mod")),
            ("python3", "python3 -um pkg.mod -c x", Some("pkg.mod")),
            ("python3", "python3 -W ignore -Xdev app.py", Some("app")),
            ("python3", "python3 -c import", None),
            ("python3", "python3 -", None),
            ("python3", "python3", None),
            ("python3", "python3 /srv/shop/__main__.py", Some("shop")),
            (
                "python3",
                "python3 /usr/bin/gunicorn shop:app",
                Some("gunicorn"),
            ),
            ("pypy3", "pypy3 app.py", Some("app")),
            ("node", "node server.js", Some("server")),
            (
                "node",
                "node --inspect --require ./trace.js /app/server.mjs x",
                Some("server"),
            ),
            ("node", "node -r dotenv/config /app/index.js", Some("app")),
            ("node", "node ./index.js", Some("index")),
            ("node", "node -e 1", None),
            ("ruby3.1", "ruby -I lib bin/rails server", Some("rails")),
            ("perl", "perl -w -MFoo=bar job.pl", Some("job")),
            ("perl", "perl -MData::Dumper job.pl", Some("job")),
            ("perl", "perl -wMstrict -I lib -i.orig job.pl", Some("job")),
            ("ruby3.1", "ruby -W:no-deprecated app.rb", Some("app")),
            (
                "node",
                "node --env-file .env --unhandled-rejections strict server.js",
                Some("server"),
            ),
            ("node", "node --eval 1", None),
            (
                "bash",
                "bash /tmp/6f1c2b52-9c1e-4d5e-8f60-0a7b1c2d3e4f.sh",
                None,
            ),
            ("bash", "bash /tmp/job-20251121.sh", None),
            ("bash", "bash /dev/fd/63", None),
            ("bash", "bash /proc/self/fd/0", None),
            ("bash", "bash feedback.sh", Some("feedback")),
            ("python3", "python3 abc123.py", Some("abc123")),
            ("node", "node /srv/0a7b1c2d3e4f/index.js", None),
            ("perl5.36", "perl -ne print x", None),
            (
                "php8.2",
                "php -d memory_limit=1G artisan queue:work",
                Some("artisan"),
            ),
            ("php", "php -f job.php", Some("job")),
            ("php", "php -S 0.0.0.0:80", None),
            ("dash", "/bin/sh ./run.sh a b", Some("run")),
            (
                "bash",
                "bash -eu -o pipefail /opt/backup.sh",
                Some("backup"),
            ),
            ("bash", "bash -c exec", None),
            ("bash", "-bash", None),
            ("bash", "bash --login", None),
            ("dash", "sh -- run", Some("run")),
            ("java", "java -Xmx1g -jar /opt/x.jar --port 80", Some("x")),
            (
                "java",
                "java -cp /a:/b -Dx=y com.acme.Main arg",
                Some("Main"),
            ),
            ("java", "java -p mods -m acme/com.acme.Main", Some("Main")),
            ("java", "java @args com.acme.Main", Some("Main")),
            ("java", "java Tool.java", Some("Tool")),
            ("java", "java -version", None),
            ("nginx", "nginx -g x", None),
            ("shred", "shred x", None),
            ("php-fpm8.2", "php-fpm: pool www", None),
        ] {
            assert_eq!(script(executable, line).as_deref(), name, "{line}");
        }
    }

    /// A process may write what it likes over its command line.
    #[test]
    fn any_bytes_are_borne() {
        let mut random = StdRng::seed_from_u64(8);
        for _ in 0..5000 {
            let letters = b"-\0cmW.py/\xc3\xa9\xff x=";
            let line: Vec<u8> = (0..random.random_range(0..80))
                .map(|_| letters[random.random_range(0..letters.len())])
                .collect();
            for executable in ["python3", "java", "node", "bash", "php", "perl", "ruby"] {
                let name = script_name(executable, &line).unwrap_or("x".into());
                assert!(!name.is_empty() && name.len() <= 256);
            }
        }
    }
}
