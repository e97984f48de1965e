use bpf::unwind::*;
fn main() {
    let mut tot = (0u64, 0u64, 0u64);
    for f in std::env::args().skip(1) {
        let file = match std::fs::File::open(&f) {
            Ok(f) => f,
            Err(e) => {
                println!("{f}: {e}");
                continue;
            }
        };
        let t0 = std::time::Instant::now();
        match build(&file, 0, &Limits::default()) {
            Err(e) => println!("{f}: {e}"),
            Ok(t) => {
                let d = t0.elapsed();
                let n = t.rows().count() as u64;
                let g = t.geometry();
                tot.0 += n;
                tot.1 += t.image().len() as u64;
                tot.2 += d.as_nanos() as u64;
                if std::env::var("Q").is_err() {
                    println!(
                        "{f}: rows {n} bytes {} ({:.3}) rules {} pages {} {:?} {:.1}M rows/s",
                        t.image().len(),
                        t.image().len() as f64 / n as f64,
                        g.rule_count,
                        g.pages,
                        d,
                        n as f64 / d.as_secs_f64() / 1e6
                    );
                }
            }
        }
    }
    println!(
        "total rows {} bytes {} {:.4} {:.1}M/s",
        tot.0,
        tot.1,
        tot.1 as f64 / tot.0 as f64,
        tot.0 as f64 / (tot.2 as f64 / 1e9) / 1e6
    );
}
