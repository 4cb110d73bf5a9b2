// Command pulumi-language-nodejs runs a Node.js program for the Pulumi engine. The genuine language host is
// not to be had as a Go module of this version, and older ones lack the engine's newer calls (resource hooks,
// transforms): this one connects the program to the engine directly, with nothing in between that could lack
// them. Left out: installing a Node.js version, debugging, code generation, plugins and policies in Node.js.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	"github.com/pulumi/pulumi/sdk/v3/go/common/version"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// The SDK's run script ends with this code after it has shown the user's mistake itself.
const exitAlreadyReported = 32

type languageHost struct {
	pulumirpc.UnimplementedLanguageRuntimeServer

	engineAddress string
	tracing       string
	// Done when the engine cancels or is gone.
	lifetime context.Context
	cancel   context.CancelFunc
}

func main() {
	tracing := flag.String("tracing", "", "address that traces are sent to")
	flag.String("runtime", "nodejs", "only nodejs")
	showVersion := flag.Bool("version", false, "print the version and exit")
	flag.Parse()
	if *showVersion {
		fmt.Println(version.Version)
		return
	}
	if err := serve(flag.Arg(0), *tracing); err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-language-nodejs:", err)
		os.Exit(1)
	}
}

func serve(engineAddress, tracing string) error {
	lifetime, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	host := &languageHost{engineAddress: engineAddress, tracing: tracing, lifetime: lifetime, cancel: cancel}
	if engineAddress != "" {
		if err := host.followEngine(); err != nil {
			return err
		}
	}
	stop := make(chan bool)
	go func() {
		<-lifetime.Done()
		close(stop)
	}()
	server, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{
		Cancel: stop,
		Init: func(srv *grpc.Server) error {
			pulumirpc.RegisterLanguageRuntimeServer(srv, host)
			return nil
		},
	})
	if err != nil {
		return fmt.Errorf("can't listen: %w", err)
	}
	fmt.Println(server.Port) // the engine reads it
	return <-server.Done
}

// followEngine ends this process when the engine does.
func (host *languageHost) followEngine() error {
	return rpcutil.Healthcheck(host.lifetime, host.engineAddress, 5*time.Minute, host.cancel)
}

func (host *languageHost) Handshake(
	_ context.Context, req *pulumirpc.LanguageHandshakeRequest,
) (*pulumirpc.LanguageHandshakeResponse, error) {
	host.engineAddress = req.GetEngineAddress()
	return &pulumirpc.LanguageHandshakeResponse{}, host.followEngine()
}

func (host *languageHost) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	host.cancel()
	return &emptypb.Empty{}, nil
}

func (host *languageHost) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: version.Version}, nil
}

func (host *languageHost) RuntimeOptionsPrompts(
	context.Context, *pulumirpc.RuntimeOptionsRequest,
) (*pulumirpc.RuntimeOptionsResponse, error) {
	return &pulumirpc.RuntimeOptionsResponse{}, nil
}

func (host *languageHost) Template(
	context.Context, *pulumirpc.TemplateRequest,
) (*pulumirpc.TemplateResponse, error) {
	return &pulumirpc.TemplateResponse{}, nil
}

// Run runs the program to its end.
func (host *languageHost) Run(ctx context.Context, req *pulumirpc.RunRequest) (*pulumirpc.RunResponse, error) {
	failed := func(format string, args ...any) (*pulumirpc.RunResponse, error) {
		return &pulumirpc.RunResponse{Error: fmt.Sprintf(format, args...)}, nil
	}
	directory := req.GetInfo().GetProgramDirectory()
	node, err := exec.LookPath("node")
	if err != nil {
		return failed("node is not on the PATH: %v", err)
	}
	sdk, err := findInNodeModules(directory, "@pulumi/pulumi")
	if err != nil {
		return failed("%v. Run `npm ci` first.", err)
	}
	config, secretKeys, err := programConfig(req)
	if err != nil {
		return failed("can't pass on the configuration: %v", err)
	}

	options := req.GetInfo().GetOptions().AsMap()
	var args []string
	if nodeArgs, ok := options["nodeargs"].(string); ok {
		args = strings.Fields(nodeArgs)
	}
	args = append(args, filepath.Join(sdk, "cmd", "run"))
	args = append(args, host.runArguments(req)...)

	run, stop := context.WithCancel(host.lifetime)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	cmd := exec.CommandContext(run, node, args...)
	cmd.Env = append(os.Environ(), "PULUMI_CONFIG="+config, "PULUMI_CONFIG_SECRET_KEYS="+secretKeys)
	// The SDK loads ts-node unless the project says that it needs none.
	if typescript, ok := options["typescript"].(bool); !ok || typescript {
		cmd.Env = append(cmd.Env, "PULUMI_NODEJS_TYPESCRIPT=true")
	}
	if tsconfig, ok := options["tsconfig"].(string); ok {
		cmd.Env = append(cmd.Env, "PULUMI_NODEJS_TSCONFIG_PATH="+tsconfig)
	}
	// Copied, not inherited: Node.js would set our own descriptors to non-blocking.
	cmd.Stdout = struct{ io.Writer }{os.Stdout}
	cmd.Stderr = struct{ io.Writer }{os.Stderr}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second

	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return &pulumirpc.RunResponse{}, nil
	case errors.As(err, &exit) && exit.ExitCode() == exitAlreadyReported:
		return &pulumirpc.RunResponse{Bail: true}, nil
	case errors.As(err, &exit):
		return failed("Program exited with non-zero exit code: %d", exit.ExitCode())
	default:
		return failed("can't run %s: %v", node, err)
	}
}

func (host *languageHost) runArguments(req *pulumirpc.RunRequest) []string {
	var args []string
	option := func(name, value string) {
		if value != "" {
			args = append(args, "--"+name, value)
		}
	}
	option("monitor", req.GetMonitorAddress())
	option("engine", host.engineAddress)
	option("organization", req.GetOrganization())
	option("project", req.GetProject())
	option("root-directory", req.GetInfo().GetRootDirectory())
	option("stack", req.GetStack())
	option("pwd", req.GetInfo().GetProgramDirectory())
	option("parallel", strconv.Itoa(int(req.GetParallel())))
	option("tracing", host.tracing)
	if req.GetDryRun() {
		args = append(args, "--dry-run")
	}
	args = append(args, req.GetInfo().GetEntryPoint())
	return append(args, req.GetArgs()...)
}

// programConfig returns the configuration, and the keys of its secrets, as the JSON that the SDK reads.
func programConfig(req *pulumirpc.RunRequest) (config, secretKeys string, err error) {
	values, keys := req.GetConfig(), req.GetConfigSecretKeys()
	if values == nil {
		values = map[string]string{}
	}
	if keys == nil {
		keys = []string{}
	}
	valuesJSON, err := json.Marshal(values)
	if err != nil {
		return "", "", err
	}
	keysJSON, err := json.Marshal(keys)
	return string(valuesJSON), string(keysJSON), err
}

// findInNodeModules looks for an installed package as Node.js does: here, then in every folder above.
func findInNodeModules(directory, name string) (string, error) {
	for at := directory; ; at = filepath.Dir(at) {
		found := filepath.Join(at, "node_modules", filepath.FromSlash(name))
		if _, err := os.Stat(filepath.Join(found, "package.json")); err == nil {
			return found, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("the package %s is not installed in %s", name, directory)
		}
	}
}

type packageJSON struct {
	Name            string            `json:"name"`
	Version         string            `json:"version"`
	Dependencies    map[string]string `json:"dependencies"`
	DevDependencies map[string]string `json:"devDependencies"`
	Pulumi          struct {
		Resource bool   `json:"resource"`
		Name     string `json:"name"`
		Version  string `json:"version"`
		Server   string `json:"server"`
	} `json:"pulumi"`
}

func readPackage(directory string) (packageJSON, error) {
	var pkg packageJSON
	text, err := os.ReadFile(filepath.Join(directory, "package.json"))
	if err == nil {
		err = json.Unmarshal(text, &pkg)
	}
	return pkg, err
}

// installedDependencies are the packages that the program's package.json names, as installed.
func installedDependencies(directory string, development bool) ([]packageJSON, error) {
	program, err := readPackage(directory)
	if err != nil {
		return nil, err
	}
	names := slices.Collect(maps.Keys(program.Dependencies))
	if development {
		names = slices.AppendSeq(names, maps.Keys(program.DevDependencies))
	}
	slices.Sort(names)
	var packages []packageJSON
	for _, name := range names {
		if found, err := findInNodeModules(directory, name); err == nil {
			if pkg, err := readPackage(found); err == nil {
				packages = append(packages, pkg)
			}
		}
	}
	return packages, nil
}

var scope = regexp.MustCompile(`^@[^/]*/`)

// GetRequiredPackages names the resource plugins that belong to the installed SDKs.
func (host *languageHost) GetRequiredPackages(
	_ context.Context, req *pulumirpc.GetRequiredPackagesRequest,
) (*pulumirpc.GetRequiredPackagesResponse, error) {
	packages, err := installedDependencies(req.GetInfo().GetProgramDirectory(), false)
	if err != nil {
		return nil, err
	}
	response := &pulumirpc.GetRequiredPackagesResponse{}
	for _, pkg := range packages {
		if !pkg.Pulumi.Resource {
			continue
		}
		plugin := &pulumirpc.PackageDependency{
			Kind: "resource", Name: pkg.Pulumi.Name, Version: pkg.Pulumi.Version, Server: pkg.Pulumi.Server,
		}
		if plugin.Name == "" {
			plugin.Name = scope.ReplaceAllString(pkg.Name, "")
		}
		if plugin.Version == "" {
			plugin.Version = pkg.Version
		}
		plugin.Version = "v" + strings.TrimPrefix(plugin.Version, "v")
		response.Packages = append(response.Packages, plugin)
	}
	return response, nil
}

func (host *languageHost) GetProgramDependencies(
	_ context.Context, req *pulumirpc.GetProgramDependenciesRequest,
) (*pulumirpc.GetProgramDependenciesResponse, error) {
	packages, err := installedDependencies(req.GetInfo().GetProgramDirectory(), true)
	if err != nil {
		return nil, err
	}
	response := &pulumirpc.GetProgramDependenciesResponse{}
	for _, pkg := range packages {
		response.Dependencies = append(response.Dependencies,
			&pulumirpc.DependencyInfo{Name: pkg.Name, Version: pkg.Version})
	}
	return response, nil
}

// InstallDependencies runs npm in the program's folder.
func (host *languageHost) InstallDependencies(
	req *pulumirpc.InstallDependenciesRequest,
	stream grpc.ServerStreamingServer[pulumirpc.InstallDependenciesResponse],
) error {
	closer, stdout, stderr, err := rpcutil.MakeInstallDependenciesStreams(stream, req.GetIsTerminal())
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(stream.Context(), "npm", "install", "--loglevel=error")
	cmd.Dir = req.GetInfo().GetProgramDirectory()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Run(); err != nil {
		return errors.Join(fmt.Errorf("npm install in %s: %w", cmd.Dir, err), closer.Close())
	}
	return closer.Close()
}

func (host *languageHost) About(
	ctx context.Context, _ *pulumirpc.AboutRequest,
) (*pulumirpc.AboutResponse, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, node, "--version").Output()
	if err != nil {
		return nil, err
	}
	return &pulumirpc.AboutResponse{
		Executable: node,
		Version:    strings.TrimSpace(string(out)),
		Metadata:   map[string]string{"packagemanager": "npm"},
	}, nil
}
