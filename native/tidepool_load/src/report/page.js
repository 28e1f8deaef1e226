const tip=document.getElementById('tip'),us=v=>v>=1e6?(v/1e6).toFixed(2)+' s':v>=1e3?(v/1e3).toFixed(2)+' ms':v+' µs';
document.querySelectorAll('figure[data-plot]').forEach(f=>{const s=f.querySelector('svg'),c=s.querySelector('.cursor');
f.onmousemove=e=>{if(!T.length)return;const r=s.getBoundingClientRect(),v=s.viewBox.baseVal,l=+s.dataset.left,w=+s.dataset.width,end=T[T.length-1].at_s||1;
const t=((e.clientX-r.left)/r.width*v.width-l)/w*end;let m=T[0];for(const k of T)if(Math.abs(k.at_s-t)<Math.abs(m.at_s-t))m=k;
const x=l+m.at_s/end*w;c.setAttribute('x1',x);c.setAttribute('x2',x);const q=m.latency_us;
tip.textContent=f.dataset.plot=='rate'?`${m.at_s} s\nasked ${m.asked_rate}/s\nstarted ${m.started_rate}/s\ncompleted ${m.completed_rate}/s\nfailed ${m.failed_rate}/s`:`${m.at_s} s\np50 ${us(q.p50)}\np99 ${us(q.p99)}\nmax ${us(q.max)}`;
tip.hidden=false;tip.style.left=Math.min(e.clientX+14,innerWidth-170)+'px';tip.style.top=e.clientY+14+'px'};
f.onmouseleave=()=>{tip.hidden=true;c.setAttribute('x1',-9);c.setAttribute('x2',-9)}});
