// Gets a certificate by the calls that cert-manager v1.15.0 makes of golang.org/x/crypto/acme, in its order.
//
// Its issuer's set-up (pkg/issuer/acme/setup.go) registers or finds the account with one client. Its controllers of
// orders and challenges (pkg/controller/acmeorders, acmechallenges) have another one, which knows the key alone and so
// finds the account by onlyReturnExisting, without an external account binding. Each call is a line of the output.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
)

var (
	server = flag.String("server", "", "directory URL (spec.acme.server)")
	bundle = flag.String("ca", "", "file of PEM roots (spec.acme.caBundle)")
	email  = flag.String("email", "", "contact (spec.acme.email)")
	name   = flag.String("name", "test.example.com", "common name and DNS name of the certificate")
	solver = flag.String("http01", "", "address on which http-01 is answered, if a challenge must be")
	eabKid = flag.String("eab-kid", "", "external account binding: key id")
	eabKey = flag.String("eab-key", "", "external account binding: MAC key, base64url")
	twice  = flag.Bool("twice", false, "finalize a second time, as after a crash before the first was noted")
	out    = flag.String("out", ".", "directory for tls.crt and tls.key; account.key is found there again")
)

func main() {
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	key, err := accountKey(filepath.Join(*out, "account.key"))
	if err != nil {
		return err
	}
	if err := setUp(ctx, key); err != nil {
		return err
	}
	client, err := newClient(key) // of the account registry: it knows no account URL yet
	if err != nil {
		return err
	}
	certificateKey, csr, err := request()
	if err != nil {
		return err
	}
	chain, err := order(ctx, client, csr)
	if err != nil {
		return err
	}
	return store(chain, certificateKey)
}

// setUp is Acme.Setup: register, or find the account; bring its contact up to date.
func setUp(ctx context.Context, key *rsa.PrivateKey) error {
	client, err := newClient(key)
	if err != nil {
		return err
	}
	account := &acme.Account{Contact: contact()}
	if *eabKid != "" {
		secret, err := base64.RawURLEncoding.DecodeString(*eabKey)
		if err != nil {
			return err
		}
		account.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: *eabKid, Key: secret}
	}
	account, err = client.Register(ctx, account, acme.AcceptTOS)
	if err == acme.ErrAccountAlreadyExists {
		fmt.Println("Register: the account is there")
		account, err = client.GetReg(ctx, "")
	}
	if err != nil {
		return fmt.Errorf("Register: %w", err)
	}
	fmt.Println("Register:", account.URI, account.Status)
	registered := ""
	if len(account.Contact) > 0 {
		registered = strings.Replace(account.Contact[0], "mailto:", "", 1)
	}
	if registered != *email {
		account.Contact = contact()
		if account, err = client.UpdateReg(ctx, account); err != nil {
			return fmt.Errorf("UpdateReg: %w", err)
		}
		fmt.Println("UpdateReg:", account.Contact)
	}
	return nil
}

// order is the controllers' way from an order to a chain.
func order(ctx context.Context, client *acme.Client, csr []byte) ([][]byte, error) {
	made, err := client.AuthorizeOrder(ctx, acme.DomainIDs(*name))
	if err != nil {
		return nil, fmt.Errorf("AuthorizeOrder: %w", err)
	}
	fmt.Println("AuthorizeOrder:", made.Status)
	for _, url := range made.AuthzURLs {
		authorization, err := client.GetAuthorization(ctx, url)
		if err != nil {
			return nil, fmt.Errorf("GetAuthorization: %w", err)
		}
		fmt.Println("GetAuthorization:", authorization.Identifier.Value, authorization.Status)
		if authorization.Status != acme.StatusValid {
			if err := challenge(ctx, client, url, authorization); err != nil {
				return nil, err
			}
		}
	}
	current, err := client.GetOrder(ctx, made.URI)
	if err != nil {
		return nil, fmt.Errorf("GetOrder: %w", err)
	}
	fmt.Println("GetOrder:", current.Status)
	if current.Status != acme.StatusReady {
		return nil, fmt.Errorf("the order is %s", current.Status)
	}
	chain, url, err := client.CreateOrderCert(ctx, made.FinalizeURL, csr, true)
	if err != nil {
		return nil, fmt.Errorf("CreateOrderCert: %w", err)
	}
	fmt.Println("CreateOrderCert:", len(chain), "certificates")
	if *twice {
		if chain, err = again(ctx, client, made, csr, chain); err != nil {
			return nil, err
		}
	}
	if current, err = client.GetOrder(ctx, made.URI); err != nil {
		return nil, fmt.Errorf("GetOrder: %w", err)
	}
	fmt.Println("GetOrder:", current.Status)
	alternates, err := client.ListCertAlternates(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("ListCertAlternates: %w", err)
	}
	fmt.Println("ListCertAlternates:", len(alternates))
	return chain, nil
}

// again finalizes a second time; a refusal with 403 sends cert-manager to the order and its certificate.
func again(ctx context.Context, client *acme.Client, made *acme.Order, csr []byte, first [][]byte) ([][]byte, error) {
	chain, _, err := client.CreateOrderCert(ctx, made.FinalizeURL, csr, true)
	var problem *acme.Error
	if errors.As(err, &problem) && problem.StatusCode == http.StatusForbidden {
		valid, err := client.GetOrder(ctx, made.URI)
		if err != nil || valid.Status != acme.StatusValid {
			return nil, fmt.Errorf("the order after a second finalize: %v %w", valid, err)
		}
		chain, err = client.FetchCert(ctx, valid.CertURL, true)
		if err != nil {
			return nil, fmt.Errorf("FetchCert: %w", err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("CreateOrderCert again: %w", err)
	}
	if !bytes.Equal(chain[0], first[0]) {
		return nil, errors.New("a second finalize gave another certificate")
	}
	fmt.Println("CreateOrderCert again: the same certificate")
	return chain, nil
}

// challenge is Sync of the challenges' controller: look, present, check oneself, accept, wait.
func challenge(ctx context.Context, client *acme.Client, url string, of *acme.Authorization) error {
	var chosen *acme.Challenge
	for _, each := range of.Challenges {
		if each.Type == "http-01" {
			chosen = each
		}
	}
	if chosen == nil || *solver == "" {
		return fmt.Errorf("no solver for %s", of.Identifier.Value)
	}
	answer, err := client.HTTP01ChallengeResponse(chosen.Token)
	if err != nil {
		return err
	}
	if _, err := client.GetAuthorization(ctx, url); err != nil { // syncChallengeStatus
		return fmt.Errorf("GetAuthorization: %w", err)
	}
	listener, err := net.Listen("tcp", *solver)
	if err != nil {
		return err
	}
	path := client.HTTP01ChallengePath(chosen.Token)
	mux := http.NewServeMux()
	mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) })
	serving := &http.Server{Handler: mux}
	go serving.Serve(listener)
	defer serving.Close()
	fmt.Println("Present:", path)
	accepted, err := client.Accept(ctx, &acme.Challenge{URI: chosen.URI, Token: chosen.Token})
	if err != nil {
		return fmt.Errorf("Accept: %w", err)
	}
	fmt.Println("Accept:", accepted.Status)
	valid, err := client.WaitAuthorization(ctx, url)
	if err != nil {
		return fmt.Errorf("WaitAuthorization: %w", err)
	}
	fmt.Println("WaitAuthorization:", valid.Status)
	return nil
}

// request makes a key and a CSR as a Certificate with a commonName and dnsNames has them.
func request() (*rsa.PrivateKey, []byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.CertificateRequest{
		Subject:            pkix.Name{CommonName: *name},
		DNSNames:           []string{*name},
		SignatureAlgorithm: x509.SHA256WithRSA,
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	return key, csr, err
}

func store(chain [][]byte, key *rsa.PrivateKey) error {
	var text bytes.Buffer
	for _, der := range chain {
		if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return err
		}
	}
	if _, err := tls.X509KeyPair(text.Bytes(), pemKey(key)); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(*out, "tls.key"), pemKey(key), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(*out, "tls.crt"), text.Bytes(), 0o644)
}

func accountKey(path string) (*rsa.PrivateKey, error) {
	if text, err := os.ReadFile(path); err == nil {
		block, _ := pem.Decode(text)
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return key, os.WriteFile(path, pemKey(key), 0o600)
}

func pemKey(key *rsa.PrivateKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

func contact() []string {
	if *email == "" {
		return nil
	}
	return []string{"mailto:" + strings.ToLower(*email)}
}

// newClient is accounts.NewClient over BuildHTTPClientWithCABundle; of nothing but bad nonces it tries again.
func newClient(key *rsa.PrivateKey) (*acme.Client, error) {
	roots, err := os.ReadFile(*bundle)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots) {
		return nil, errors.New("no roots in " + *bundle)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, TLSHandshakeTimeout: 10 * time.Second}
	return &acme.Client{
		Key:          key,
		HTTPClient:   &http.Client{Transport: transport, Timeout: 90 * time.Second},
		DirectoryURL: *server,
		UserAgent:    "cert-manager-driver/v1.15.0 (linux/amd64) cert-manager/34032515413d5422af06f597a313e43bb5d646a0",
		RetryBackoff: func(n int, _ *http.Request, response *http.Response) time.Duration {
			if response.StatusCode != http.StatusBadRequest || n > 5 {
				return -1
			}
			return 100 * time.Millisecond
		},
	}, nil
}
