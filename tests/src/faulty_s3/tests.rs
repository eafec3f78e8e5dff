use super::*;
use crate::{
    http::{Client, empty},
    wait_for,
};
use http::Method;

/// A store that notes what it is asked, and answers 200 with ten bytes.
struct Upstream {
    listen: String,
    asked: Arc<Mutex<Vec<Operation>>>,
    _task: JoinSet<()>,
}

impl Upstream {
    async fn start() -> Self {
        let listen = ports::address();
        let listener = TcpListener::bind(&listen).await.unwrap();
        let asked: Arc<Mutex<Vec<Operation>>> = Arc::default();
        let (mut task, noted) = (JoinSet::new(), asked.clone());
        task.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let noted = noted.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    noted.lock().unwrap().push(Operation::of(&request));
                    async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"0123456789")))) }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            }
        });
        Self { listen, asked, _task: task }
    }

    fn asked(&self) -> Vec<Operation> {
        self.asked.lock().unwrap().clone()
    }
}

async fn with(fault: Fault) -> (Upstream, FaultyS3, Client) {
    let upstream = Upstream::start().await;
    let proxy = FaultyS3::start(&upstream.listen, 1).await.unwrap();
    proxy.set(Rates::only(fault, 1_000));
    let client = Client::new([proxy.listen.clone()]);
    (upstream, proxy, client)
}

#[tokio::test]
async fn without_faults_everything_passes() {
    let (upstream, proxy, client) = with(Fault::SlowDown).await;
    proxy.set(Rates::none());
    let answer = client.send(Method::GET, "/b/k").await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"0123456789"[..]));
    assert_eq!(upstream.asked(), [Operation::GetObject]);
    assert_eq!((proxy.counters().of(Operation::GetObject), proxy.counters().injected()), (1, 0));
}

#[tokio::test]
async fn a_lost_answer_has_its_effect_and_a_lost_request_has_none() {
    let (upstream, proxy, client) = with(Fault::LostAnswer).await;
    assert!(client.send(Method::PUT, "/b/k").await.is_err());
    assert_eq!(upstream.asked(), [Operation::PutObject]);
    proxy.set(Rates::only(Fault::LostRequest, 1_000));
    assert!(client.send(Method::PUT, "/b/k").await.is_err());
    assert_eq!(upstream.asked().len(), 1);
    let counters = proxy.counters();
    assert_eq!(counters.faults[&(Operation::PutObject, Fault::LostAnswer)], 1);
    assert_eq!(counters.faults[&(Operation::PutObject, Fault::LostRequest)], 1);
}

#[tokio::test]
async fn a_change_comes_twice_and_a_read_does_not() {
    let (upstream, _proxy, client) = with(Fault::Twice).await;
    assert_eq!(client.send(Method::GET, "/b/k").await.unwrap().status, 200);
    assert_eq!(client.send(Method::DELETE, "/b/k").await.unwrap().status, 200);
    let twice = [Operation::GetObject, Operation::DeleteObject, Operation::DeleteObject];
    wait_for("the second one", Duration::from_secs(10), || async { (upstream.asked() == twice).then_some(()) }).await;
}

#[tokio::test]
async fn a_store_without_time_does_nothing() {
    let (upstream, _proxy, client) = with(Fault::SlowDown).await;
    let answer = client.send(Method::PUT, "/b/k").await.unwrap();
    assert_eq!(answer.status, 503);
    assert!(String::from_utf8_lossy(&answer.body).contains("<Code>SlowDown</Code>"));
    assert!(upstream.asked().is_empty());
}

#[tokio::test]
async fn completing_fails_inside_of_a_200_or_after_its_success() {
    let (upstream, proxy, client) = with(Fault::ErrorInside).await;
    for _ in 0..20 {
        let answer = client.send(Method::POST, "/b/k?uploadId=1").await.unwrap();
        assert_eq!(answer.status, 200);
        assert!(String::from_utf8_lossy(&answer.body).contains("<Code>InternalError</Code>"));
    }
    let effects = upstream.asked().len();
    assert!((1..20).contains(&effects), "{effects} of 20 took effect");
    assert_eq!(client.send(Method::PUT, "/b/k").await.unwrap().body, &b"0123456789"[..], "only where it fits");
    proxy.set(Rates::only(Fault::UploadGone, 1_000));
    let answer = client.send(Method::POST, "/b/k?uploadId=1").await.unwrap();
    assert_eq!(answer.status, 404);
    assert_eq!(upstream.asked().len(), effects + 2);
}

#[tokio::test]
async fn a_bulk_delete_names_keys_as_failed() {
    let (upstream, _proxy, client) = with(Fault::PartialDelete).await;
    let mut failed = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let keys = "<Delete><Object><Key>a</Key></Object><Object><Key>b</Key></Object></Delete>";
        let answer = client.send_body(Method::POST, "/b?delete", &[], full(keys.into())).await.unwrap();
        assert_eq!(answer.status, 200);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains("<Error><Key>a</Key>"), "{text}");
        failed.insert(text.matches("<Error>").count());
    }
    assert_eq!(failed.into_iter().collect::<Vec<_>>(), [1, 2]);
    assert!(!upstream.asked().is_empty());
    assert_eq!(
        fault::partial_delete("<Quiet>true</Quiet><Key>a</Key><Key>b</Key>", true).matches("<Deleted>").count(),
        0
    );
}

#[tokio::test]
async fn half_of_an_object_comes_under_the_length_of_all_of_it() {
    let (_upstream, _proxy, client) = with(Fault::CutBody).await;
    let error = client.send_body(Method::GET, "/b/k", &[], empty()).await.unwrap_err();
    assert!(format!("{error:#}").contains("body") || format!("{error:#}").contains("closed"), "{error:#}");
}

#[test]
fn every_fault_comes_before_long() {
    let (mut random, mut chances) = (StdRng::seed_from_u64(3), BTreeMap::new());
    let mut drawn: BTreeMap<Fault, u32> = BTreeMap::new();
    for _ in 0..10 {
        let fault = Rates::some().draw(Operation::CompleteMultipartUpload, &mut random, &mut chances);
        *drawn.entry(fault.unwrap_or(Fault::Delay)).or_default() += 1;
    }
    assert!(drawn[&Fault::ErrorInside] > 0 && drawn[&Fault::UploadGone] > 0, "{drawn:?}");
    assert!(drawn[&Fault::Delay] > 1, "most requests pass: {drawn:?}");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let upstream = Upstream::start().await;
        let proxy = FaultyS3::start(&upstream.listen, 7).await.unwrap();
        proxy.set(Rates::only(Fault::SlowDown, 500));
        let client = Client::new([proxy.listen.clone()]);
        let mut statuses = Vec::new();
        for _ in 0..30 {
            statuses.push(client.send(Method::GET, "/b/k").await.unwrap().status.as_u16());
        }
        assert!(statuses.contains(&200) && statuses.contains(&503));
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1]);
}
