package endpoint

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	toolkit "github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/time/rate"

	"github.com/keepscope/keepscope/sniffer/privileges"
)

// reloadAfter is for how long a web configuration, and the certificate that it
// names, are taken to be what they were.
const reloadAfter = time.Second

// A WebConfig is TLS and authentication of the endpoint as a web configuration
// file has it, which is read again so that certificates can be renewed. A file or
// certificate that breaks is told, and the one before serves on.
type WebConfig struct {
	path string // empty for plain HTTP, open to all
	log  *slog.Logger

	mu      sync.Mutex
	now     *webSettings
	checked time.Time
	trouble string // last said; empty while all is well

	comparing sync.Mutex // bcrypt takes a processor: one at a time
	known     sync.Map   // user: sha256 of the hash and the password that match
}

// webSettings are a file's settings, none of which changes.
type webSettings struct {
	tls     *tls.Config // nil for plain HTTP
	users   map[string]string
	headers map[string]string
	limiter *rate.Limiter // nil for none
}

// A ForbiddenError is a web configuration that can be read, but not by the user that
// serves.
type ForbiddenError struct{ error }

// Unwrap returns why it can't be read.
func (e ForbiddenError) Unwrap() error { return e.error }

// CheckWebConfig says what is wrong with a web configuration file, or with a
// certificate that it names. They are read again while it serves, so that certificates
// can be renewed, and hence by the user that serves.
func CheckWebConfig(path string, user *privileges.User) error {
	if path == "" {
		return nil
	}
	validate := func() error { return toolkit.Validate(path) }
	err := user.Do(validate)
	if err != nil && validate() == nil { // for this user
		return ForbiddenError{fmt.Errorf("%w: %v or its group must be allowed to read it, which happens again for every connection", err, user)}
	}
	return err
}

// OpenWebConfig reads a file for the first time; no path stands for plain HTTP.
func OpenWebConfig(path string, user *privileges.User, log *slog.Logger) (*WebConfig, error) {
	c := &WebConfig{path: path, log: log, now: &webSettings{}, checked: time.Now()}
	if path == "" {
		return c, nil
	}
	if err := CheckWebConfig(path, user); err != nil {
		return nil, err
	}
	return c, user.Do(func() (err error) {
		c.now, err = loadWebSettings(path)
		return err
	})
}

// loadWebSettings reads a file and what it names.
func loadWebSettings(path string) (*webSettings, error) {
	if err := toolkit.Validate(path); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	file := toolkit.Config{
		TLSConfig:  toolkit.TLSConfig{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13},
		HTTPConfig: toolkit.HTTPConfig{HTTP2: true},
	}
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&file); err != nil {
		return nil, err
	}
	file.TLSConfig.SetDirectory(filepath.Dir(path))
	s := &webSettings{headers: file.HTTPConfig.Header, users: map[string]string{}}
	for user, hash := range file.Users {
		s.users[user] = string(hash)
	}
	if r := file.RateLimiterConfig; r.Interval != 0 {
		s.limiter = rate.NewLimiter(rate.Every(r.Interval), r.Burst)
	}
	if !file.TLSConfig.IsEnabled() {
		return s, nil
	}
	if s.tls, err = toolkit.ConfigToTLSConfig(&file.TLSConfig); err != nil {
		return nil, err
	}
	// It would read the files again for each handshake, and so fail with them.
	cert, err := s.tls.GetCertificate(nil)
	if err != nil {
		return nil, err
	}
	s.tls.Certificates, s.tls.GetCertificate = []tls.Certificate{*cert}, nil
	s.tls.NextProtos = []string{"http/1.1"}
	if file.HTTPConfig.HTTP2 {
		s.tls.NextProtos = []string{"h2", "http/1.1"}
	}
	return s, nil
}

// settings returns what holds now.
func (c *WebConfig) settings() *webSettings {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.path == "" || time.Since(c.checked) < reloadAfter {
		return c.now
	}
	c.checked = time.Now()
	s, err := loadWebSettings(c.path)
	if err == nil && (s.tls == nil) != (c.now.tls == nil) {
		err = fmt.Errorf("%s: TLS can't be switched on or off while it serves: start anew", c.path)
	}
	if err != nil {
		if words := err.Error(); words != c.trouble {
			c.trouble = words
			c.log.Warn("endpoint: the web configuration or its certificate is broken: the one before serves on", "error", words)
		}
		return c.now
	}
	if c.trouble != "" {
		c.trouble = ""
		c.log.Info("endpoint: the web configuration is right again", "file", c.path)
	}
	if c.now.limiter != nil && s.limiter != nil && c.now.limiter.Limit() == s.limiter.Limit() && c.now.limiter.Burst() == s.limiter.Burst() {
		s.limiter = c.now.limiter // with what was taken from it
	}
	c.now = s
	return s
}

// sound says whether what is served is what the file says. It looks.
func (c *WebConfig) sound() bool {
	c.settings()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trouble == ""
}

// tlsConfig returns how connections are secured, nil where they are not.
func (c *WebConfig) tlsConfig() *tls.Config {
	first := c.now.tls
	if first == nil {
		return nil
	}
	out := first.Clone()
	out.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.settings().tls, nil }
	return out
}

// guard lets those through that the file allows.
func (c *WebConfig) guard(next http.Handler) http.Handler {
	if c.path == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := c.settings()
		for k, v := range s.headers {
			w.Header().Set(k, v)
		}
		switch {
		case s.limiter != nil && !s.limiter.Allow():
			answer(w, http.StatusTooManyRequests, http.StatusText(http.StatusTooManyRequests))
		case len(s.users) > 0 && !c.allowed(s, r):
			w.Header().Set("WWW-Authenticate", "Basic")
			answer(w, http.StatusUnauthorized, http.StatusText(http.StatusUnauthorized))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// nobodysHash is compared with where there is no such user, so that an answer
// takes as long.
const nobodysHash = "$2y$10$55TM0u3Vw.G0m1QZQ4JW8.6X8huYDeMF3rLlvhvlri1o8JvYLxH4S"

// allowed checks user and password. Only what matched is remembered, one for each
// user that the file has: what clients try takes no memory.
func (c *WebConfig) allowed(s *webSettings, r *http.Request) bool {
	user, password, ok := r.BasicAuth()
	if !ok {
		return false
	}
	hash, exists := s.users[user]
	if !exists {
		hash = nobodysHash
	}
	digest := sha256.Sum256([]byte(hash + "\x00" + password))
	if known, ok := c.known.Load(user); ok && exists && known == digest {
		return true
	}
	c.comparing.Lock()
	err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password))
	c.comparing.Unlock()
	if err != nil || !exists {
		return false
	}
	c.known.Store(user, digest)
	return true
}

// WebConfigFiles lists the directories of a web configuration file and of those that
// it names. They are read again while it serves, so that certificates can be
// renewed.
func WebConfigFiles(path string) []string {
	dir := filepath.Dir(path)
	list := []string{dir}
	var cfg struct {
		TLS struct {
			Cert string `yaml:"cert_file"`
			Key  string `yaml:"key_file"`
			CA   string `yaml:"client_ca_file"`
		} `yaml:"tls_server_config"`
	}
	text, err := os.ReadFile(path)
	if err != nil || yaml.Unmarshal(text, &cfg) != nil {
		return list // CheckWebConfig says what is wrong with it
	}
	for _, file := range []string{cfg.TLS.Cert, cfg.TLS.Key, cfg.TLS.CA} {
		switch {
		case file == "":
		case filepath.IsAbs(file):
			list = append(list, filepath.Dir(file))
		default:
			list = append(list, filepath.Dir(filepath.Join(dir, file)))
		}
	}
	return list
}
