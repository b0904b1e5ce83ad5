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
    Deploy {
        lease: LeaseId(Hash([0xab; 32])),
        service: "web".to_owned(),
        manifest,
        salt: Hash::ZERO,
    }
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
    let plan = lower(&deploy(sdl(WEB, SMALL)), &leased()).unwrap();
    assert_eq!(plan.id.as_str(), "ab".repeat(16));
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
    let table: [(&str, Bend); 9] = [
        ("no service \"api\"", |deploy, _| deploy.service = "api".into()),
        ("of cpu, the lease has 999", |_, request| request.cpu_milli = 999),
        ("of memory, the lease has", |_, request| request.memory_bytes = 1 << 20),
        ("of storage, the lease has", |_, request| request.disk_bytes = 1 << 20),
        ("no GPUs", |deploy, _| deploy.manifest.services[0].compute.gpus.count = 1),
        ("no trusted execution", |deploy, _| {
            deploy.manifest.services[0].tee = Some(muster_spec::sdl::Tee::Cpu);
        }),
        ("service web: ", |deploy, _| deploy.manifest.services[0].image = "UPPER CASE".into()),
        ("a volume in memory is at /dev/shm only", |deploy, _| {
            let volumes = &mut deploy.manifest.services[0].compute.volumes;
            volumes.iter_mut().for_each(|volume| volume.class = Some(StorageClass::Ram));
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
fn of_several_services_the_one_that_is_named_must_fit_and_no_other() {
    let mut deploy = deploy(sdl(WEB, SMALL));
    let web = deploy.manifest.services[0].clone();
    let mut large = Service { name: "large".to_owned(), ..web };
    large.compute.cpu_milli = 2_000;
    deploy.manifest.services.push(large);
    assert_eq!(lower(&deploy, &leased()).unwrap().service, "web");
    deploy.service = "large".to_owned();
    let reason = lower(&deploy, &leased()).unwrap_err();
    assert!(reason.contains("service large: it takes 2000 of cpu"), "{reason}");
}
