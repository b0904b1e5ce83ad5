use super::*;
use muster_spec::sdl::{Exchange, Manifest, parse_sdl};
use muster_types::Hash;

const GIB: u64 = 1 << 30;

fn sdl(services: &str, resources: &str) -> Manifest {
    let text = format!(
        "version: \"2.0\"\nservices:\n{services}\nprofiles:\n  compute:\n    small: {{resources: \
         {resources}}}\n  placement:\n    here: {{pricing: {{small: {{denom: usd, amount: \
         0.1}}}}}}\ndeployment:\n  web: {{here: {{profile: small, count: 1}}}}\n"
    );
    let parsed = parse_sdl(text.as_bytes(), &Exchange::default());
    let deployment = parsed.result.unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    deployment.groups[0].manifest()
}

fn deploy(manifest: Manifest) -> Deploy {
    Deploy { lease: LeaseId(Hash([0xab; 32])), unit: 0, manifest, salt: Hash::ZERO }
}

fn leased() -> Request {
    Request { cpu_milli: 1_000, memory_bytes: GIB, disk_bytes: GIB, ..Request::default() }
}

const WEB: &str = "  web: {image: \"registry.here:5000/web:1\", command: [run], env: [A=b], expose: \
                   [{port: 80, to: [{global: true}]}, {port: 9, to: [{service: web}]}], params: \
                   {storage: {data: {mount: /data}}}}";
const SMALL: &str = "{cpu: {units: 1}, memory: {size: 256Mi}, storage: [{size: 128Mi}, {name: data, \
                     size: 64Mi, attributes: {persistent: true, class: beta2}}]}";

#[test]
fn a_service_becomes_a_container_with_its_limits_ports_and_volumes() {
    let plans = lower(&deploy(sdl(WEB, SMALL)), &leased()).unwrap();
    let [plan] = plans.as_slice() else { panic!("{plans:?}") };
    assert_eq!(plan.id.as_str(), format!("{}-0", "ab".repeat(16)));
    assert_eq!(plan.image.host(), "registry.here:5000");
    assert_eq!(
        (plan.overrides.command.as_slice(), plan.overrides.args.as_ref()),
        (&["run".to_owned()][..], None)
    );
    assert_eq!(plan.overrides.env, [("A".to_owned(), "b".to_owned())]);
    let Limits { milli_cpu, memory_bytes, disk_bytes, .. } = plan.limits;
    assert_eq!((milli_cpu, memory_bytes, disk_bytes), (1_000, 256 << 20, 128 << 20));
    let mut ports = plan.ports.clone();
    ports.sort_unstable();
    assert_eq!(ports, [(9, false), (80, true)]);
    let [volume] = plan.volumes.as_slice() else { panic!("{:?}", plan.volumes) };
    assert_eq!((volume.bytes, volume.persistent, volume.read_only), (64 << 20, true, false));
    assert_eq!(volume.target, PathBuf::from("/data"));
    assert!(volume.id.as_str().starts_with(plan.id.as_str()));
}

#[test]
fn what_a_lease_does_not_carry_is_refused_with_the_fix() {
    let good = || deploy(sdl(WEB, SMALL));
    type Bend = fn(&mut Deploy, &mut Request);
    let table: [(&str, Bend); 11] = [
        ("unit 1 of the manifest has 0 services", |deploy, _| deploy.unit = 1),
        ("of cpu, the lease has 999", |_, request| request.cpu_milli = 999),
        ("of memory, the lease has", |_, request| request.memory_bytes = 1 << 20),
        ("of storage, the lease has", |_, request| request.disk_bytes = 1 << 20),
        ("of cpu, the lease has 1000", |deploy, _| {
            let twin = deploy.manifest.services[0].clone();
            deploy.manifest.services.push(twin);
        }),
        ("no GPUs", |deploy, _| deploy.manifest.services[0].compute.gpus.count = 1),
        ("no trusted execution", |deploy, _| {
            deploy.manifest.services[0].tee = Some(muster_spec::sdl::Tee::Cpu);
        }),
        ("service web: ", |deploy, _| deploy.manifest.services[0].image = "UPPER CASE".into()),
        ("a volume in memory is at /dev/shm only", |deploy, _| {
            let volumes = &mut deploy.manifest.services[0].compute.volumes;
            volumes.iter_mut().for_each(|volume| volume.class = Some(StorageClass::Ram));
        }),
        ("depend on each other", |deploy, request| {
            request.cpu_milli = 9_000;
            let mut twin = deploy.manifest.services[0].clone();
            twin.name = "twin".into();
            twin.dependencies = vec!["web".into()];
            deploy.manifest.services[0].dependencies = vec!["twin".into()];
            deploy.manifest.services.push(twin);
        }),
        ("credentials are for other.example", |deploy, _| {
            deploy.manifest.services[0].credentials = Some(muster_spec::sdl::Credentials {
                host: "other.example".into(),
                email: String::new(),
                username: "u".into(),
                password: "secret".into(),
            });
        }),
    ];
    assert!(lower(&good(), &leased()).is_ok());
    for (expected, bend) in table {
        let (mut deploy, mut request) = (good(), leased());
        bend(&mut deploy, &mut request);
        let reason = lower(&deploy, &request).unwrap_err();
        assert!(reason.contains(expected), "{expected}: {reason}");
        assert!(!reason.contains("secret"), "{reason}");
    }
}

#[test]
fn a_service_starts_after_those_of_its_lease_that_it_depends_on() {
    let mut deploy = deploy(sdl(WEB, SMALL));
    let web = deploy.manifest.services[0].clone();
    let named = |name: &str, dependencies: &[&str]| Service {
        name: name.to_owned(),
        dependencies: dependencies.iter().map(|&name| name.to_owned()).collect(),
        ..web.clone()
    };
    let elsewhere = Service { unit: 1, ..named("d", &[]) };
    deploy.manifest.services =
        vec![named("a", &["b", "d"]), named("b", &["c"]), named("c", &[]), elsewhere];
    let request = Request { cpu_milli: 3_000, ..leased() };
    let plans = lower(&deploy, &request).unwrap();
    let names: Vec<&str> = plans.iter().map(|plan| plan.service.as_str()).collect();
    assert_eq!(names, ["c", "b", "a"]);
}
